#include "stored_values.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <span>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <fmt/ranges.h>

#include "dormer/core/error.hpp"
#include "dormer/tensor/device_memory.hpp"
#include "dormer/tensor/differentiable.hpp"

namespace dormer::interop {
namespace {

std::optional<at::ScalarType> scalar_type(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return at::kHalf;
    case DType::kBF16:
      return at::kBFloat16;
    case DType::kF32:
      return at::kFloat;
    case DType::kF64:
      return at::kDouble;
    default:
      return std::nullopt;
  }
}

std::int64_t product(const std::vector<std::int64_t>& shape, std::size_t first) {
  return std::accumulate(shape.begin() + static_cast<std::ptrdiff_t>(first), shape.end(), std::int64_t{1},
                         std::multiplies<>());
}

/// Copies first: an array of a file need not be aligned.
at::Tensor copied(const storage::SafetensorsFile& file, const storage::TensorEntry& entry, at::ScalarType type) {
  const std::span<const std::byte> bytes = file.bytes(entry);
  const at::Tensor raw = at::empty({static_cast<std::int64_t>(bytes.size() / size_of(entry.dtype))}, type);
  std::ranges::copy(bytes, static_cast<std::byte*>(raw.mutable_data_ptr()));
  return raw;
}

bool is_one_of(const std::string& factor, std::initializer_list<const char*> names) {
  return std::ranges::any_of(names, [&](const char* name) { return factor == name; });
}

void require_ones(const StoredArray& values, std::size_t first, const std::string& layer, const std::string& factor) {
  require(values.shape.size() >= first && product(values.shape, first) == 1, Fault::kInput,
          "{} of '{}' has the shape [{}], whose last axes are not 1", factor, layer, fmt::join(values.shape, ", "));
}

void flatten(StoredArray& values) {
  values.shape = {values.shape.at(0), product(values.shape, 1)};
}

}  // namespace

StoredArray read_array(const storage::SafetensorsFile& file, const storage::TensorEntry& entry) {
  const tensor::NoRecording guard;
  const std::string where = file.path().string();
  const std::optional<at::ScalarType> type = scalar_type(entry.dtype);
  require(type.has_value(), Fault::kInput, "'{}' of {} has the dtype {}, not one of a trained factor", entry.name,
          where, safetensors_name(entry.dtype));
  const at::Tensor wide = copied(file, entry, *type).to(at::kFloat);
  const std::span<const float> values(wide.const_data_ptr<float>(), static_cast<std::size_t>(wide.numel()));
  require(!values.empty(), Fault::kInput, "'{}' of {} is empty", entry.name, where);
  require(std::ranges::all_of(values, [](float value) { return std::isfinite(value); }), Fault::kInput,
          "'{}' of {} holds values that are not finite; the training that wrote it had failed", entry.name, where);
  return {.shape = entry.shape, .values = {values.begin(), values.end()}};
}

double read_number(const storage::SafetensorsFile& file, const storage::TensorEntry& entry) {
  const std::string where = file.path().string();
  require(product(entry.shape, 0) == 1, Fault::kInput, "'{}' of {} has the shape [{}] instead of one number",
          entry.name, where, fmt::join(entry.shape, ", "));
  if (entry.dtype == DType::kI64 || entry.dtype == DType::kI32) {
    std::int64_t value = 0;
    const std::span<const std::byte> bytes = file.bytes(entry);
    if (entry.dtype == DType::kI64) {
      std::memcpy(&value, bytes.data(), sizeof value);
    } else {
      std::int32_t narrow = 0;
      std::memcpy(&narrow, bytes.data(), sizeof narrow);
      value = narrow;
    }
    return static_cast<double>(value);
  }
  return read_array(file, entry).values.front();
}

void ArrayList::add(std::string name, const StoredArray& values, DType dtype) {
  const tensor::NoRecording guard;
  const std::optional<at::ScalarType> type = scalar_type(dtype);
  require(type.has_value() && dtype != DType::kF64, Fault::kUsage,
          "export.dtype {} is none of an adapter; write float32, bfloat16 or float16", name_of(dtype));
  const at::Tensor rounded = tensor::borrowed(std::span<const float>(values.values), "cpu").to(*type);
  const auto* first = static_cast<const std::byte*>(rounded.const_data_ptr());
  const std::vector<std::byte>& bytes = bytes_.emplace_back(first, first + rounded.nbytes());
  arrays_.push_back({.name = std::move(name), .dtype = dtype, .shape = values.shape, .bytes = bytes});
}

void ArrayList::add_number(std::string name, double value) {
  add(std::move(name), {.shape = {}, .values = {static_cast<float>(value)}}, DType::kF32);
}

void write_arrays(const std::filesystem::path& path, const ArrayList& list, const storage::Metadata& metadata) {
  storage::write_safetensors(path, list.arrays(), metadata);
  const auto back = storage::SafetensorsFile::open(path);
  require(holds_exactly(*back, list.arrays()) && back->metadata() == metadata, Fault::kIo,
          "{} does not read back as it was written; is the disk or the file system failing?", path.string());
}

bool holds_exactly(const storage::SafetensorsFile& file, const std::vector<storage::NamedArray>& arrays) {
  return file.tensors().size() == arrays.size() && std::ranges::all_of(arrays, [&](const storage::NamedArray& array) {
           const storage::TensorEntry* entry = file.find(array.name);
           return entry != nullptr && entry->dtype == array.dtype && entry->shape == array.shape &&
                  std::ranges::equal(file.bytes(*entry), array.bytes);
         });
}

void put_factor(StoredLayer& layer, const std::string& layer_name, const std::string& factor, StoredArray values) {
  if (is_one_of(factor, {"lora_B", "hada_w1_a", "hada_w2_a", "lokr_w1_a", "lokr_w1_b", "lokr_w1", "lokr_w2_a"}) &&
      values.shape.size() > 2) {
    layer.kernel_axes = std::max(layer.kernel_axes, values.shape.size() - 2);
    require_ones(values, 2, layer_name, factor);
    values.shape.resize(2);
  } else if (is_one_of(factor, {"hada_w1_b", "hada_w2_b", "lokr_w2_b"}) && values.shape.size() > 2) {
    layer.kernel_axes = std::max(layer.kernel_axes, values.shape.size() - 2);
    flatten(values);
  }
  const bool fresh = layer.factors.try_emplace(factor, std::move(values)).second;
  require(fresh, Fault::kInput, "{} of '{}' stands there twice, under two spellings", factor, layer_name);
}

namespace {

/// The kind that a layer's factors belong to; factors of two kinds are an input fault.
std::string kind_of(const StoredLayer& layer, const std::string& layer_name) {
  std::string kind = layer.factors.empty() && !layer.bias.empty() ? "bias" : "";
  for (const auto& [factor, values] : layer.factors) {
    const std::string own = factor.starts_with("hada_")             ? "loha"
                            : factor.starts_with("lokr_")           ? "lokr"
                            : factor.starts_with("lora_")           ? "lora"
                            : is_one_of(factor, {"diff", "diff_b"}) ? "diff"
                            : is_one_of(factor, {"weight", "bias"}) ? "full"
                                                                    : "";
    invariant(!own.empty(), "'{}' is no canonical factor", factor);
    require(kind.empty() || kind == own, Fault::kInput, "'{}' has factors of a {} and of a {}", layer_name, kind, own);
    kind = own;
  }
  require(!kind.empty(), Fault::kInput, "'{}' has no factors", layer_name);
  return kind;
}

std::int64_t rank_of(const StoredLayer& layer, const std::string& layer_name) {
  // As every program that reads such a file: the large factor's rank of a Kronecker product counts first.
  for (const char* factor : {"lora_embedding_A", "lora_A", "hada_w1_b", "lokr_w2_b", "lokr_w1_b"}) {
    if (const auto found = layer.factors.find(factor); found != layer.factors.end()) {
      require(!found->second.shape.empty(), Fault::kInput, "{} of '{}' has no axes", factor, layer_name);
      return found->second.shape.front();
    }
  }
  return 0;
}

}  // namespace

void finish_layer(StoredLayer& layer, const std::string& layer_name) {
  layer.kind = kind_of(layer, layer_name);
  for (const char* factor : {"lora_A", "lora_mid", "hada_t1", "lokr_t2", "lokr_w2", "diff", "weight"}) {
    if (layer.factors.contains(factor) && layer.factors.at(factor).shape.size() > 2) {
      layer.kernel_axes = std::max(layer.kernel_axes, layer.factors.at(factor).shape.size() - 2);
    }
  }
  if (layer.factors.contains("lora_mid") && layer.factors.contains("lora_A")) {
    StoredArray& a = layer.factors.at("lora_A");
    require_ones(a, 2, layer_name, "lora_A");
    a.shape.resize(2);
  }
  const StoredShape shape = shape_of(layer_name, layer);
  require(layer.bias.empty() || std::ssize(layer.bias) == shape.out, Fault::kInput,
          "'{}' has a bias of {} numbers for {} outputs", layer_name, layer.bias.size(), shape.out);
  if (layer.kind == "lora" && layer.kernel_axes > 0) {
    layer.kind = "locon";
  }
  layer.rank = rank_of(layer, layer_name);
  const bool counts = layer.rank > 0 && layer.alpha && *layer.alpha != 0.0;
  layer.scale = counts ? *layer.alpha / static_cast<double>(layer.rank) : 1.0;
  if (layer.axis) {
    const auto norms = static_cast<std::int64_t>(layer.magnitude.size());
    const bool fits = *layer.axis == adapter::Axis::kOutput ? norms == shape.out
                                                            : norms > 0 && shape.columns % norms == 0 &&
                                                                  (layer.kernel_axes > 0 || norms == shape.columns);
    require(fits, Fault::kInput, "'{}' has {} magnitudes by {}, which do not fit a weight of {} rows and {} columns",
            layer_name, norms, name_of(*layer.axis), shape.out, shape.columns);
  }
}

void set_dora_scale(StoredLayer& layer, const std::string& layer_name, const StoredArray& values,
                    std::optional<adapter::Axis> axis) {
  require(!layer.axis, Fault::kInput, "'{}' has two arrays of magnitudes", layer_name);
  const std::vector<std::int64_t>& shape = values.shape;
  const bool rows = shape.size() >= 2 && product(shape, 1) == 1;
  const bool columns = shape.size() >= 2 && shape[0] == 1 && product(shape, 2) == 1;
  if (rows != columns) {
    const adapter::Axis seen = rows ? adapter::Axis::kOutput : adapter::Axis::kInput;
    require(!axis || *axis == seen, Fault::kInput,
            "dora_scale of '{}' has the shape [{}], of the {} axis, but the file says {}", layer_name,
            fmt::join(shape, ", "), name_of(seen), axis ? name_of(*axis) : "");
    axis = seen;
  }
  require(
      axis && (rows || columns || shape.size() == 1), Fault::kInput,
      "dora_scale of '{}' has the shape [{}], which tells no axis; it must be [out, 1] or [1, in], or the file must "
      "say wd_on_output in ss_network_args",
      layer_name, fmt::join(shape, ", "));
  layer.axis = axis;
  layer.magnitude = values.values;
  if (shape.size() > 2) {
    layer.kernel_axes = std::max(layer.kernel_axes, shape.size() - 2);
  }
}

std::size_t kernel_axes(const StoredLayer& layer) {
  return layer.kernel_axes;
}

StoredArray dora_scale_of(const StoredLayer& layer, const std::string& layer_name) {
  invariant(layer.axis.has_value(), "{} is not decomposed", layer_name);
  const auto norms = static_cast<std::int64_t>(layer.magnitude.size());
  StoredArray result{.shape = {1, 1}, .values = layer.magnitude};
  result.shape[*layer.axis == adapter::Axis::kOutput ? 0 : 1] = norms;
  result.shape.resize(2 + layer.kernel_axes, 1);
  return result;
}

StoredArray up_of(const StoredLayer& layer) {
  StoredArray up = layer.factors.at("lora_B");
  up.shape.resize(2 + layer.kernel_axes, 1);
  return up;
}

std::optional<adapter::Axis> axis_of_shape(const std::vector<std::int64_t>& shape) {
  if (shape.size() < 2) {
    return std::nullopt;
  }
  const bool rows = product(shape, 1) == 1;
  const bool columns = shape[0] == 1 && product(shape, 2) == 1;
  if (rows == columns) {
    return std::nullopt;
  }
  return rows ? adapter::Axis::kOutput : adapter::Axis::kInput;
}

StoredArray scaled(StoredArray values, double scale) {
  for (float& value : values.values) {
    value = static_cast<float>(static_cast<double>(value) * scale);
  }
  return values;
}

StoredArray transposed(const StoredArray& matrix) {
  const std::int64_t rows = matrix.shape.at(0);
  const std::int64_t columns = matrix.shape.at(1);
  StoredArray result{.shape = {columns, rows}, .values = std::vector<float>(matrix.values.size())};
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < columns; ++column) {
      result.values[static_cast<std::size_t>(column * rows + row)] =
          matrix.values[static_cast<std::size_t>(row * columns + column)];
    }
  }
  return result;
}

}  // namespace dormer::interop
