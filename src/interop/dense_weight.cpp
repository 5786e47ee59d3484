#include "dense_weight.hpp"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/div.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/floor_divide.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/remainder.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <fmt/ranges.h>

#include "dormer/adapter/effective_weight.hpp"
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

/// Σ_pq left[p, o] middle[p, q, k] right[q, i], without the left factor, as a matrix [p, i * k]; right [r, in].
at::Tensor tucker(const at::Tensor& middle, const at::Tensor& right) {
  const std::int64_t rank = middle.size(0);
  const std::int64_t taps = middle.numel() / (rank * middle.size(1));
  const at::Tensor by_tap = middle.reshape({rank, middle.size(1), taps}).permute({0, 2, 1});  // [p, k, q]
  const at::Tensor inner = at::mm(by_tap.reshape({rank * taps, -1}), right);                  // [p * k, i]
  return inner.view({rank, taps, -1}).permute({0, 2, 1}).reshape({rank, -1});
}

MatrixRows rows_of(const at::Tensor& matrix) {
  return [matrix](std::int64_t first, std::int64_t count) {
    return matrix.narrow(0, first, count).clone(at::MemoryFormat::Contiguous);
  };
}

MatrixRows product(const at::Tensor& left, const at::Tensor& right) {
  return [left, right](std::int64_t first, std::int64_t count) { return at::mm(left.narrow(0, first, count), right); };
}

MatrixRows low_rank(const Factors& factors) {
  if (factors.has("lora_embedding_A")) {
    return product(factors.get("lora_embedding_B"), factors.get("lora_embedding_A"));
  }
  const at::Tensor b = factors.get("lora_B");
  if (factors.has("lora_mid")) {
    return product(b, tucker(factors.get("lora_mid"), factors.get("lora_A")));
  }
  return product(b, factors.get("lora_A").flatten(1));
}

MatrixRows half(const Factors& factors, const std::string& number) {
  const at::Tensor left = factors.get("hada_w" + number + "_a");
  const at::Tensor right = factors.get("hada_w" + number + "_b");
  return factors.has("hada_t" + number) ? product(left.t(), tucker(factors.get("hada_t" + number), right))
                                        : product(left, right);
}

MatrixRows hadamard(const Factors& factors) {
  return [left = half(factors, "1"), right = half(factors, "2")](std::int64_t first, std::int64_t count) {
    return left(first, count).mul_(right(first, count));
  };
}

MatrixRows kronecker(const Factors& factors) {
  const at::Tensor small =
      factors.has("lokr_w1") ? factors.get("lokr_w1") : at::mm(factors.get("lokr_w1_a"), factors.get("lokr_w1_b"));
  at::Tensor large;
  if (factors.has("lokr_w2")) {
    large = factors.get("lokr_w2").flatten(1);
  } else if (factors.has("lokr_t2")) {
    large = at::mm(factors.get("lokr_w2_a").t(), tucker(factors.get("lokr_t2"), factors.get("lokr_w2_b")));
  } else {
    large = at::mm(factors.get("lokr_w2_a"), factors.get("lokr_w2_b"));
  }
  return [small, large](std::int64_t first, std::int64_t count) {
    const at::Tensor rows = at::arange(first, first + count, at::kLong);
    const std::int64_t height = large.size(0);
    const at::Tensor outer = small.index_select(0, at::floor_divide(rows, height));
    const at::Tensor inner = large.index_select(0, at::remainder(rows, height));
    return at::mul(outer.unsqueeze(2), inner.unsqueeze(1)).flatten(1);
  };
}

MatrixRows unscaled_change(const std::string& name, const StoredLayer& layer, const Factors& factors) {
  if (layer.kind == "loha") {
    return hadamard(factors);
  }
  if (layer.kind == "lokr") {
    return kronecker(factors);
  }
  if (layer.kind == "diff") {
    return rows_of(factors.get("diff").flatten(1));
  }
  invariant(layer.kind != "full", "{} has its own weight, not a change", name);
  return low_rank(factors);
}

MatrixRows change(const std::string& name, const StoredLayer& layer, bool absolute) {
  const tensor::NoRecording guard;
  static_cast<void>(shape_of(name, layer));
  const double scale = absolute ? std::abs(layer.scale) : layer.scale;
  return
      [rows = unscaled_change(name, layer, Factors(layer, absolute)), scale](std::int64_t first, std::int64_t count) {
        const tensor::NoRecording unrecorded;
        return rows(first, count).mul_(scale);
      };
}

bool is_table(const StoredLayer& layer) {
  return layer.factors.contains("lora_embedding_A");
}

void require_weight_fits(const std::string& name, const StoredLayer& layer, const StoredShape& shape,
                         const at::Tensor& weight) {
  const bool fits = weight.dim() >= (layer.kind == "full" ? 1 : 2) &&
                    weight.size(is_table(layer) ? 1 : 0) == shape.out && weight.numel() == shape.out * shape.columns;
  require(fits, Fault::kInput, "'{}' changes a weight of {} rows and {} columns, but the model's is [{}]", name,
          shape.out, shape.columns, fmt::join(weight.sizes(), ", "));
}

at::Tensor own_weight(const StoredLayer& layer) {
  return tensor::borrowed(std::span<const float>(layer.factors.at("weight").values), "cpu");
}

/// W + Δ by rows.
MatrixRows moved_rows(const std::string& name, const StoredLayer& layer, const at::Tensor& weight) {
  const at::Tensor matrix = is_table(layer) ? weight.t() : weight.flatten(1);
  return [matrix, delta = dense_change(name, layer)](std::int64_t first, std::int64_t count) {
    return delta(first, count).add_(matrix.narrow(0, first, count));
  };
}

/// What elements of norm `norm` are multiplied by, fp32. A row of zeros stays as it is.
at::Tensor factor_of(const at::Tensor& magnitude, const at::Tensor& norm) {
  return at::where(norm.eq(0.0), at::ones_like(norm), at::div(magnitude, norm)).to(at::kFloat);
}

/// Norms of sums in fp64, without a matrix of squares.
at::Tensor norms(const at::Tensor& parts, std::vector<std::int64_t> summed) {
  return at::linalg_vector_norm(parts, 2, summed, false, at::kDouble);
}

MatrixRows scaled_by_row(const MatrixRows& moved, const at::Tensor& magnitude) {
  return [moved, magnitude](std::int64_t first, std::int64_t count) {
    at::Tensor rows = moved(first, count);
    const at::Tensor factor = factor_of(magnitude.narrow(0, first, count), norms(rows, {1}));
    return rows.mul_(factor.unsqueeze(1));
  };
}

MatrixRows scaled_by_channel(const std::string& name, const StoredLayer& layer, const MatrixRows& moved,
                             const at::Tensor& magnitude) {
  const std::int64_t channels = magnitude.numel();
  at::Tensor squares = at::zeros({channels}, at::kDouble);
  for_dense_rows(name, layer, [&](std::int64_t first, std::int64_t count) {
    squares.add_(norms(moved(first, count).view({count, channels, -1}), {0, 2}).square());
  });
  return [moved, channels, factor = factor_of(magnitude, squares.sqrt())](std::int64_t first, std::int64_t count) {
    at::Tensor rows = moved(first, count);
    rows.view({count, channels, -1}).mul_(factor.view({1, -1, 1}));
    return rows;
  };
}

}  // namespace

void for_dense_rows(const std::string& name, const StoredLayer& layer,
                    const std::function<void(std::int64_t first, std::int64_t count)>& visit) {
  const StoredShape shape = shape_of(name, layer);
  const std::int64_t rows = std::clamp<std::int64_t>(adapter::kEffectiveBlock / shape.columns, 1, shape.out);
  for (std::int64_t first = 0; first < shape.out; first += rows) {
    visit(first, std::min(rows, shape.out - first));
  }
}

MatrixRows dense_change(const std::string& name, const StoredLayer& layer) {
  return change(name, layer, false);
}

MatrixRows dense_change_of_magnitudes(const std::string& name, const StoredLayer& layer) {
  return change(name, layer, true);
}

MatrixRows dense_effective_rows(const std::string& name, const StoredLayer& layer, const at::Tensor& weight) {
  const tensor::NoRecording guard;
  const StoredShape shape = shape_of(name, layer);
  require_weight_fits(name, layer, shape, weight);
  if (layer.kind == "full") {
    return rows_of(own_weight(layer).view({shape.out, shape.columns}));
  }
  const MatrixRows moved = moved_rows(name, layer, weight);
  if (!layer.axis) {
    return moved;
  }
  const at::Tensor magnitude = tensor::borrowed(std::span<const float>(layer.magnitude), "cpu").to(at::kDouble);
  return *layer.axis == adapter::Axis::kOutput ? scaled_by_row(moved, magnitude)
                                               : scaled_by_channel(name, layer, moved, magnitude);
}

MatrixRows dense_table_rows(const std::string& name, const StoredLayer& layer, const at::Tensor& weight) {
  require_weight_fits(name, layer, shape_of(name, layer), weight);
  return rows_of(own_weight(layer).view(weight.sizes()).t());
}

at::Tensor dense_effective_weight(const std::string& name, const StoredLayer& layer, const at::Tensor& weight) {
  const tensor::NoRecording guard;
  if (layer.kind == "bias") {
    return weight.to(at::kFloat);
  }
  const MatrixRows rows = dense_effective_rows(name, layer, weight);
  const at::Tensor result = at::empty(weight.sizes(), at::kFloat);
  const at::Tensor matrix = is_table(layer) ? result.t() : result.view({weight.size(0), -1});
  for_dense_rows(name, layer, [&](std::int64_t first, std::int64_t count) {
    matrix.narrow(0, first, count).copy_(rows(first, count));
  });
  return result;
}

}  // namespace dormer::interop
