#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "dormer/core/dtype.hpp"
#include "dormer/interop/merged.hpp"
#include "dormer/tensor/forward.hpp"

namespace dormer::interop {

/// The head of a language model, and the table that is its head where it has none of its own.
inline constexpr const char* kHeadArray = "lm_head.weight";
inline constexpr const char* kTableArray = "model.embed_tokens.weight";

/// What happens to one array of a model.
struct ArrayChange {
  std::function<at::Tensor(const at::Tensor& stored)> apply;  ///< any float dtype in, fp32 or that out
  std::int64_t added_rows = 0;
};
using ArrayChanges = std::map<std::string, ArrayChange>;

/// One folder of weights (or one file), and what it becomes.
struct ModelPart {
  std::filesystem::path folder;  ///< or a file
  std::string stem = "model";    ///< of its files' names
  ArrayChanges changes{};
  bool unties_head = false;  ///< kHeadArray, which the folder lacks, begins as a copy of kTableArray
};

[[nodiscard]] bool is_float(DType dtype);

/// Bytes of the part's arrays after the changes, from headers alone.
[[nodiscard]] std::int64_t part_bytes(const ModelPart& part, DType dtype);
/// Writes the weights into the folder `target`: one file in memory at a time, each read back and
/// compared. A changed array that the model does not have, or has as no floats of 16 bits or more, is an input fault.
void write_part(const ModelPart& part, const std::filesystem::path& target, const MergedForm& form);
/// The same into one file, with the metadata of the file that it comes from. Arrays that change, also their dtype, are
/// in memory together. Takes its place when it has been compared.
void write_one_file(const ModelPart& part, const std::filesystem::path& target, DType dtype);

}  // namespace dormer::interop
