#include "dormer/adapter/weight_change.hpp"

#include <algorithm>
#include <cmath>

#include <ATen/core/Tensor.h>

#include "adapter.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "norm_terms.hpp"

namespace dormer::adapter {
namespace {

/// Of one row: |w|², w·δ, |δ|² and |v|.
struct RowTerms {
  double base = 0.0;
  double cross = 0.0;
  double square = 0.0;
  double norm = 0.0;
};

/// 1 - cos(v, w). From sin² = (|w|²|δ|² - (w·δ)²) / (|w|²|v|²), which has no difference of large numbers; 1 - cos
/// itself would lose a small angle in the rounding of the norms.
double turned(const RowTerms& row) {
  if (!(row.base > 0.0) || !(row.norm > 0.0)) {
    return 0.0;
  }
  const double cosine = std::clamp((row.base + row.cross) / (std::sqrt(row.base) * row.norm), -1.0, 1.0);
  if (cosine < 0.0) {
    return 1.0 - cosine;
  }
  const double squared_sine = (row.base * row.square - row.cross * row.cross) / (row.base * row.norm * row.norm);
  return std::clamp(squared_sine, 0.0, 1.0) / (1.0 + cosine);
}

double stretched(const RowTerms& row, const float* magnitude) {
  if (magnitude != nullptr) {
    return std::abs(static_cast<double>(*magnitude) - static_cast<double>(std::sqrt(static_cast<float>(row.base))));
  }
  const double sum = row.norm + std::sqrt(row.base);
  return sum > 0.0 ? std::abs(2.0 * row.cross + row.square) / sum : 0.0;
}

WeightChange measure(const FrozenLayer& layer, const Adapter& adapter) {
  const Axis axis = adapter.decomposition() == nullptr ? Axis::kOutput : adapter.decomposition()->axis();
  const std::optional<NormTerms> factored = adapter.change().norm_terms(layer, axis);
  const NormTerms terms = factored ? *factored : norm_terms_by_rows(adapter.change(), layer, axis);
  const at::Tensor cross = terms.cross.contiguous().cpu();
  const at::Tensor square = terms.square.contiguous().cpu();
  const at::Tensor base_norms = adapter.change().squared_norms_of_frozen(layer, axis).cpu();
  const float* base = base_norms.const_data_ptr<float>();
  const Decomposition* decomposition = adapter.decomposition();
  const at::Tensor magnitude = decomposition == nullptr ? at::Tensor() : decomposition->magnitude().cpu();
  const at::Tensor norm = decomposition == nullptr ? at::Tensor() : decomposition->norm().cpu();
  WeightChange change{.site = layer.site.name};
  const std::int64_t rows = norm_count(layer.site, axis);
  for (std::int64_t index = 0; index < rows; ++index) {
    RowTerms row{.base = base[index],
                 .cross = cross.const_data_ptr<float>()[index],
                 .square = square.const_data_ptr<float>()[index]};
    row.norm = decomposition == nullptr ? std::sqrt(std::max(row.base + 2.0 * row.cross + row.square, 0.0))
                                        : static_cast<double>(norm.const_data_ptr<float>()[index]);
    change.direction += turned(row) / static_cast<double>(rows);
    change.magnitude += stretched(row, decomposition == nullptr ? nullptr : magnitude.const_data_ptr<float>() + index) /
                        static_cast<double>(rows);
  }
  return change;
}

}  // namespace

std::vector<WeightChange> measure_weight_changes(const AdapterSet& adapters, std::span<const FrozenLayer> layers) {
  const tensor::NoRecording guard;
  std::vector<WeightChange> changes;
  for (const std::size_t index : adapters.site_indices()) {
    changes.push_back(measure(layers[index], *adapters.find(index)));
  }
  return changes;
}

}  // namespace dormer::adapter
