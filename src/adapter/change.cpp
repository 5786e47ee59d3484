#include "dormer/adapter/change.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/nonzero.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include "change_input.hpp"
#include "dormer/core/error.hpp"
#include "layer_operation.hpp"
#include "norm_terms.hpp"

namespace dormer::adapter {
namespace {

/// Collects the sums of one block of rows after the other for the norms of an axis.
class AxisSums {
 public:
  AxisSums(const Site& site, Axis axis, const at::TensorOptions& options) : site_(site), axis_(axis) {
    if (axis == Axis::kInput) {
      columns_ = at::zeros({site.columns()}, options);
    }
  }

  void add(const at::Tensor& products) {
    if (axis_ == Axis::kInput) {
      columns_.add_(at::sum(products, {0}));  // of one block in the products' dtype
    } else {
      rows_.push_back(at::sum(products, {1}));
    }
  }

  [[nodiscard]] at::Tensor result() const {
    return axis_ == Axis::kInput ? sum_taps(site_, columns_) : at::cat(rows_, 0);
  }

 private:
  const Site& site_;
  Axis axis_;
  std::vector<at::Tensor> rows_;
  at::Tensor columns_;
};

/// Whether any of these flags (uint8) is set. A CPU reads them; elsewhere it is one copy.
bool any_of(const at::Tensor& flags) {
  if (!flags.is_cpu() || !flags.is_contiguous()) {
    return at::nonzero(flags).size(0) > 0;
  }
  const std::uint8_t* first = flags.const_data_ptr<std::uint8_t>();
  return std::any_of(first, first + flags.numel(), [](std::uint8_t flag) { return flag != 0; });
}

}  // namespace

at::Tensor ChangeInput::scaled() const {
  if (!factor.defined()) {
    return x;
  }
  return scaled_channels(groups_as_samples(x, factor.size(0)), factor).view(x.sizes());
}

const at::Tensor& squared_norms(const FrozenLayer& layer, Axis axis) {
  const bool rows = (axis == Axis::kOutput) != (layer.site.form == LayerForm::kEmbedding);
  return rows ? layer.weight.squared_row_norms() : layer.weight.squared_column_norms();
}

at::Tensor squared_norms_by_rows(const Change& change, const FrozenLayer& layer, Axis axis) {
  const at::TensorOptions options = layer.weight.values().options().dtype(at::kDouble);
  AxisSums squares(layer.site, axis, options);
  for_cached_rows(layer.site, layer.weight.values(), [&](std::int64_t first, std::int64_t count) {
    at::Tensor sum = change.sum_rows(layer, first, count);
    squares.add(sum.mul_(sum));
  });
  return squares.result().to(at::kFloat);
}

NormTerms norm_terms_by_rows(const Change& change, const FrozenLayer& layer, Axis axis) {
  const at::TensorOptions options = layer.weight.values().options().dtype(at::kDouble);
  AxisSums cross(layer.site, axis, options);
  AxisSums square(layer.site, axis, options);
  for_cached_rows(layer.site, layer.weight.values(), [&](std::int64_t first, std::int64_t count) {
    at::Tensor delta = change.dense_rows(first, count);
    cross.add(at::mul(matrix_rows(layer.site, layer.weight.values(), first, count), delta));
    square.add(delta.mul_(delta));
  });
  return {cross.result().to(at::kFloat), square.result().to(at::kFloat)};
}

std::optional<NormTerms> Change::norm_terms(const FrozenLayer& /*layer*/, Axis /*axis*/) const {
  return std::nullopt;
}

std::optional<at::Tensor> Change::squared_norms_of_sum(const FrozenLayer& /*layer*/, Axis /*axis*/) const {
  return std::nullopt;
}

at::Tensor Change::squared_norms_of_frozen(const FrozenLayer& layer, Axis axis) const {
  return squared_norms(layer, axis);
}

at::Tensor Change::sum_rows(const FrozenLayer& layer, std::int64_t first, std::int64_t count) const {
  return dense_rows(first, count).add_(matrix_rows(layer.site, layer.weight.values(), first, count));
}

at::Tensor Change::combined_weight() const {
  invariant(false, "this kind does not form W + Δ");
  return {};
}

std::vector<StartValue> Change::start_values() const {
  return {};
}

std::vector<at::Tensor> Change::stacked_factors() const {
  return {};
}

void Change::replace_cancelling_norms(const FrozenLayer& layer, Axis axis, const at::Tensor& cancels,
                                      const at::Tensor& norm) const {
  if (cancels.is_meta() || !any_of(cancels)) {  // as a rule, and so in a rehearsal, none does
    return;
  }
  AxisSums sums(layer.site, axis, norm.options().dtype(at::kDouble));
  for_row_blocks(layer.site, [&](std::int64_t first, std::int64_t count) {
    const at::Tensor row_cancels = axis == Axis::kOutput ? cancels.narrow(0, first, count) : cancels;
    if (!any_of(row_cancels)) {
      sums.add(at::zeros({count, 1}, norm.options().dtype(at::kDouble)));
      return;
    }
    const at::Tensor sum =
        matrix_rows(layer.site, layer.weight.values(), first, count).to(at::kDouble).add_(dense_rows(first, count));
    sums.add(sum.mul_(sum));
  });
  norm.copy_(at::where(cancels.to(at::kBool), sums.result().sqrt_(), norm));
}

}  // namespace dormer::adapter
