#pragma once

#include <cstdint>
#include <filesystem>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/core/dtype.hpp"
#include "dormer/interop/adapter_format.hpp"
#include "dormer/interop/stored_adapter.hpp"

namespace dormer::interop {

inline constexpr std::int64_t kLargestModelFile = std::int64_t{4} << 30;  ///< bytes

/// How a merged model is stored.
struct MergedForm {
  DType dtype = DType::kF32;
  std::int64_t largest_file = kLargestModelFile;  ///< bytes of the arrays of one file of a folder
};

/// Writes the model with its adapters merged into the weights, as a Hugging Face folder that needs no adapter: what
/// every program reads, of any kind and axis. Effective weights are computed in fp32 from the folder's own weights, and
/// every array is rounded once to its dtype. config.json is the model's, with dtype and number of tokens brought up to
/// date. One file is in memory at a time; each is read back and compared. Written
/// beside the target, then put in its place.
void write_merged(const adapter::AdapterSet& adapters, const std::filesystem::path& folder, const BaseFacts& base,
                  const MergedForm& form);

/// The same for a stored adapter and the model's folder: a Hugging Face folder, or a diffusers folder
/// (model_index.json), whose adapted components are merged and whose others are copied. Or for a checkpoint of one file
/// with all parts of a diffusion model, under native names or diffusers': then `folder` is the file that is written.
/// Layers that the model does not have, or has in other shapes, are input faults.
void write_merged(const StoredAdapter& adapter, const std::filesystem::path& folder, const std::filesystem::path& model,
                  const MergedForm& form);

/// Bytes of such a folder's arrays, from the headers of the model's files alone.
[[nodiscard]] std::int64_t merged_bytes(const adapter::AdapterSet& adapters, const std::filesystem::path& model_folder,
                                        DType dtype);

}  // namespace dormer::interop
