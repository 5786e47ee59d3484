#include "dormer/tensor/base_loading.hpp"

#include <algorithm>
#include <memory>
#include <optional>

#include <fmt/ranges.h>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include "dormer/core/error.hpp"
#include "dormer/tensor/frozen_product.hpp"

namespace dormer::tensor {
namespace {

std::optional<at::ScalarType> scalar_type_of(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return at::kFloat;
    case DType::kBF16:
      return at::kBFloat16;
    case DType::kF16:
      return at::kHalf;
    case DType::kF64:
      return at::kDouble;
    default:
      return std::nullopt;
  }
}

}  // namespace

BaseWeight load_base_weight(const storage::SafetensorsSet& files, const std::string& name,
                            std::span<const std::int64_t> shape, DType dtype, const std::string& device) {
  const auto found = files.find(name);
  require(found.has_value(), Fault::kInput,
          "{}: the model's files have no tensor {}; the model is incomplete or of another architecture",
          files.files().empty() ? std::string("none") : files.files().front()->path().string(), name);
  const storage::TensorEntry& entry = *found->entry;
  require(std::ranges::equal(entry.shape, shape), Fault::kInput,
          "{}: tensor {} has shape [{}], config.json asks for [{}]", found->file->path().string(), name,
          fmt::join(entry.shape, ", "), fmt::join(shape, ", "));
  const std::optional<at::ScalarType> stored = scalar_type_of(entry.dtype);
  require(stored.has_value(), Fault::kInput,
          "{}: tensor {} has dtype {}; weights are F32, BF16, F16 or F64 (quantized files are not read)",
          found->file->path().string(), name, safetensors_name(entry.dtype));
  const bool lent = found->file->lends(entry);
  const at::Device place(device);
  if (place.is_meta()) {
    const at::TensorOptions shaped(scalar_type_of(dtype).value());
    return BaseWeight(name, at::empty(entry.shape, shaped.device(place)), nullptr, lent && entry.dtype == dtype);
  }
  at::Tensor values;
  if (lent) {
    // The mapping is read-only and so are base weights: nothing writes through this pointer.
    values = at::from_blob(const_cast<std::byte*>(found->file->bytes(entry).data()), entry.shape,
                           at::TensorOptions(*stored));
  } else {
    values = at::empty(entry.shape, at::TensorOptions(*stored));
    found->file->read(entry, {static_cast<std::byte*>(values.mutable_data_ptr()), values.nbytes()});
  }
  if (!place.is_cpu()) {
    return BaseWeight(name, to_dtype(values, dtype).to(place), nullptr, false);
  }
  if (entry.dtype == dtype) {
    return BaseWeight(name, values, lent ? std::shared_ptr<const void>(found->file) : nullptr, lent);
  }
  return BaseWeight(name, to_dtype(values, dtype), nullptr, false);
}

}  // namespace dormer::tensor
