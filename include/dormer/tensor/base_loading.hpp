#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "dormer/core/dtype.hpp"
#include "dormer/storage/safetensors.hpp"
#include "dormer/tensor/base_weight.hpp"

namespace dormer::tensor {

/// The array `name` of a model's files in `dtype` (float32 or bfloat16), on `device`. On a CPU, where the file
/// has that dtype, it stays the file's read-only mapping, shared by the ranks of a machine; otherwise, and from a
/// network file system, it is a private copy. On `kShapesDevice` nothing of the data is read; `mapped` then says what
/// it would be on a CPU. Throws an input error if it is missing, has another shape, or a dtype that holds no weights.
[[nodiscard]] BaseWeight load_base_weight(const storage::SafetensorsSet& files, const std::string& name,
                                          std::span<const std::int64_t> shape, DType dtype,
                                          const std::string& device = "cpu");

}  // namespace dormer::tensor
