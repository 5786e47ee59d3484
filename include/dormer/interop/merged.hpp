#pragma once

#include <cstdint>
#include <filesystem>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/core/dtype.hpp"
#include "dormer/interop/adapter_format.hpp"
#include "dormer/interop/stored_adapter.hpp"

namespace dormer::interop {

inline constexpr std::int64_t kLargestModelFile = std::int64_t{4} << 30;  ///< bytes

/// Writes the model with its adapters merged into the weights, as a Hugging Face folder that needs no adapter: what
/// every program reads, of any kind and axis. Effective weights are computed in fp32 from the folder's own weights, and
/// every array is rounded once to `dtype`. config.json is the model's, with dtype and number of tokens brought up to
/// date. Files hold at most 4 GiB and one of them is in memory at a time; each is read back and compared. Written
/// beside the target, then put in its place.
void write_merged(const adapter::AdapterSet& adapters, const std::filesystem::path& folder, const BaseFacts& base,
                  DType dtype);

/// The same for a stored adapter and the model's folder: a Hugging Face folder, or a diffusers folder
/// (model_index.json), whose adapted components are merged and whose others are copied. Layers that the model does not
/// have, or has in other shapes, are input faults.
void write_merged(const StoredAdapter& adapter, const std::filesystem::path& folder, const std::filesystem::path& model,
                  DType dtype);

/// Bytes of such a folder's arrays, from the headers of the model's files alone.
[[nodiscard]] std::int64_t merged_bytes(const adapter::AdapterSet& adapters, const std::filesystem::path& model_folder,
                                        DType dtype);

}  // namespace dormer::interop
