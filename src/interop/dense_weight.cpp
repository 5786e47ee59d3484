#include "dense_weight.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/div.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/kron.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>
#include <fmt/ranges.h>

#include "dormer/core/error.hpp"
#include "dormer/tensor/device_memory.hpp"
#include "dormer/tensor/differentiable.hpp"

namespace dormer::interop {
namespace {

/// The factors of one layer, as they are or without their signs.
class Factors {
 public:
  Factors(const StoredLayer& layer, bool absolute) : layer_(layer), absolute_(absolute) {}
  [[nodiscard]] bool has(const std::string& name) const { return layer_.factors.contains(name); }
  [[nodiscard]] at::Tensor get(const std::string& name) const {
    const StoredArray& stored = layer_.factors.at(name);
    const at::Tensor values = tensor::borrowed(std::span<const float>(stored.values), "cpu").view(stored.shape);
    return absolute_ ? at::abs(values) : values;
  }

 private:
  const StoredLayer& layer_;
  bool absolute_;
};

/// Σ_pq left[p, o] middle[p, q, k] right[q, i] as a matrix [o, i * k]; left [r, out], right [r, in].
at::Tensor tucker(const at::Tensor& left, const at::Tensor& middle, const at::Tensor& right) {
  const std::int64_t rank = middle.size(0);
  const std::int64_t taps = middle.numel() / (rank * middle.size(1));
  const at::Tensor by_tap = middle.reshape({rank, middle.size(1), taps}).permute({0, 2, 1});  // [p, k, q]
  const at::Tensor inner = at::mm(by_tap.reshape({rank * taps, -1}), right);                  // [p * k, i]
  const at::Tensor ordered = inner.view({rank, taps, -1}).permute({0, 2, 1}).reshape({rank, -1});
  return at::mm(left.t(), ordered);
}

at::Tensor low_rank(const Factors& factors) {
  if (factors.has("lora_embedding_A")) {
    return at::mm(factors.get("lora_embedding_B"), factors.get("lora_embedding_A"));
  }
  const at::Tensor b = factors.get("lora_B");
  if (factors.has("lora_mid")) {
    return tucker(b.t(), factors.get("lora_mid"), factors.get("lora_A"));
  }
  return at::mm(b, factors.get("lora_A").flatten(1));
}

at::Tensor half(const Factors& factors, const std::string& number) {
  const at::Tensor left = factors.get("hada_w" + number + "_a");
  const at::Tensor right = factors.get("hada_w" + number + "_b");
  return factors.has("hada_t" + number) ? tucker(left, factors.get("hada_t" + number), right) : at::mm(left, right);
}

at::Tensor kronecker(const Factors& factors) {
  const at::Tensor small =
      factors.has("lokr_w1") ? factors.get("lokr_w1") : at::mm(factors.get("lokr_w1_a"), factors.get("lokr_w1_b"));
  at::Tensor large;
  if (factors.has("lokr_w2")) {
    large = factors.get("lokr_w2").flatten(1);
  } else if (factors.has("lokr_t2")) {
    large = tucker(factors.get("lokr_w2_a"), factors.get("lokr_t2"), factors.get("lokr_w2_b"));
  } else {
    large = at::mm(factors.get("lokr_w2_a"), factors.get("lokr_w2_b"));
  }
  return at::kron(small, large);
}

at::Tensor change(const std::string& name, const StoredLayer& layer, bool absolute) {
  const tensor::NoRecording guard;
  static_cast<void>(shape_of(name, layer));
  const Factors factors(layer, absolute);
  const double scale = absolute ? std::abs(layer.scale) : layer.scale;
  if (layer.kind == "loha") {
    return at::mul(at::mul(half(factors, "1"), half(factors, "2")), scale);
  }
  if (layer.kind == "lokr") {
    return at::mul(kronecker(factors), scale);
  }
  if (layer.kind == "diff") {
    return at::mul(factors.get("diff").flatten(1), scale);
  }
  invariant(layer.kind != "full", "{} has its own weight, not a change", name);
  return at::mul(low_rank(factors), scale);
}

}  // namespace

at::Tensor dense_change(const std::string& name, const StoredLayer& layer) {
  return change(name, layer, false);
}

at::Tensor dense_change_of_magnitudes(const std::string& name, const StoredLayer& layer) {
  return change(name, layer, true);
}

at::Tensor dense_effective_weight(const std::string& name, const StoredLayer& layer, const at::Tensor& weight) {
  const tensor::NoRecording guard;
  if (layer.kind == "bias") {
    return weight.to(at::kFloat);
  }
  const StoredShape shape = shape_of(name, layer);
  const bool table = layer.factors.contains("lora_embedding_A");
  const bool fits = weight.dim() >= (layer.kind == "full" ? 1 : 2) && weight.size(table ? 1 : 0) == shape.out &&
                    weight.numel() == shape.out * shape.columns;
  require(fits, Fault::kInput, "'{}' changes a weight of {} rows and {} columns, but the model's is [{}]", name,
          shape.out, shape.columns, fmt::join(weight.sizes(), ", "));
  if (layer.kind == "full") {
    const StoredArray& own = layer.factors.at("weight");
    return tensor::borrowed(std::span<const float>(own.values), "cpu").clone().view(weight.sizes());
  }
  const at::Tensor matrix = table ? weight.to(at::kFloat).t() : weight.to(at::kFloat).flatten(1);
  at::Tensor moved = matrix.add(dense_change(name, layer));
  if (layer.axis) {
    const auto norms = static_cast<std::int64_t>(layer.magnitude.size());
    const bool rows = *layer.axis == adapter::Axis::kOutput;
    const at::Tensor parts = rows ? moved.view({shape.out, 1, shape.columns}) : moved.view({shape.out, norms, -1});
    const std::vector<std::int64_t> summed = rows ? std::vector<std::int64_t>{1, 2} : std::vector<std::int64_t>{0, 2};
    const at::Tensor norm =
        at::linalg_vector_norm(parts, 2, summed, false, at::kDouble);  // without a matrix of squares
    const at::Tensor magnitude = tensor::borrowed(std::span<const float>(layer.magnitude), "cpu").to(at::kDouble);
    // A row of zeros stays as it is.
    const at::Tensor factor = at::where(norm.eq(0.0), at::ones_like(norm), at::div(magnitude, norm)).to(at::kFloat);
    moved =
        at::mul(parts, rows ? factor.view({-1, 1, 1}) : factor.view({1, -1, 1})).reshape({shape.out, shape.columns});
  }
  return table ? moved.t().contiguous() : moved.contiguous().view(weight.sizes());
}

}  // namespace dormer::interop
