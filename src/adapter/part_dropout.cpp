#include "part_dropout.hpp"

#include <array>
#include <utility>
#include <vector>

#include <ATen/ops/empty.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/zeros_like.h>

#include "change_input.hpp"
#include "dormer/core/error.hpp"
#include "layer_operation.hpp"
#include "norm_terms.hpp"

namespace dormer::adapter {
namespace {

/// The parameters belong to the other change, which starts and refreshes itself.
class ChangeByRows final : public Change {
 public:
  ChangeByRows(const Change& change, at::Tensor factors) : change_(change), factors_(std::move(factors)) {}

  void initialize(RandomKey /*key*/) override { invariant(false, "a part of a change has no start of its own"); }
  void refresh() override { invariant(false, "a part of a change has no copies of its own"); }

  std::vector<at::Tensor> add_forward(const at::Tensor& x, at::Tensor& y) const override {
    at::Tensor own = at::zeros_like(y);
    std::vector<at::Tensor> saved = change_.add_forward(x, own);
    scale_channels(own, factors_, {});
    y.add_(own);
    return saved;
  }

  void backward(const at::Tensor& gradient, const ChangeInput& input, const std::vector<at::Tensor>& saved,
                at::Tensor& x_gradient) const override {
    at::Tensor own = gradient.clone();
    scale_channels(own, factors_, {});
    change_.backward(own, input, saved, x_gradient);
  }

  // Output norms have one row each, so the terms scale with it; an input norm sums over rows.
  std::optional<NormTerms> norm_terms(const FrozenLayer& layer, Axis axis) const override {
    std::optional<NormTerms> terms = axis == Axis::kOutput ? change_.norm_terms(layer, axis) : std::nullopt;
    if (terms) {
      terms = {at::mul(terms->cross, factors_), at::mul(terms->square, factors_).mul_(factors_)};
    }
    return terms;
  }

  at::Tensor dense_rows(std::int64_t first, std::int64_t count) const override {
    return scaled(first, change_.dense_rows(first, count));
  }

  void add_weight_gradient(std::int64_t first, const at::Tensor& rows) const override {
    change_.add_weight_gradient(first, scaled(first, rows));
  }

 private:
  [[nodiscard]] at::Tensor scaled(std::int64_t first, const at::Tensor& rows) const {
    return at::mul(rows, factors_.narrow(0, first, rows.size(0)).unsqueeze(1));
  }

  const Change& change_;
  at::Tensor factors_;
};

}  // namespace

RandomKey part_dropout_key(RandomKey seed, std::int64_t step, const std::string& site) {
  return seed.child("part dropout").child(static_cast<std::uint64_t>(step)).child(site);
}

at::Tensor row_factors(RandomKey part_key, std::int64_t rows, double rate, bool scaled) {
  const RandomKey key = part_key.child("rows");
  at::Tensor factors = at::empty({rows}, at::kFloat);
  float* values = factors.mutable_data_ptr<float>();
  std::int64_t kept = 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::array<std::uint32_t, 4> words = philox(key, static_cast<std::uint64_t>(row / 4));
    const bool keeps = to_uniform(words.at(static_cast<std::size_t>(row % 4))) >= rate;
    values[row] = keeps ? 1.0F : 0.0F;
    kept += keeps ? 1 : 0;
  }
  return scaled && kept > 0 ? factors.mul_(static_cast<double>(rows) / static_cast<double>(kept)) : factors;
}

bool leaves_out(RandomKey part_key, double rate) {
  return to_uniform(philox(part_key.child("module"), 0)[0]) < rate;
}

std::unique_ptr<Change> change_by_rows(const Change& change, at::Tensor factors) {
  return std::make_unique<ChangeByRows>(change, std::move(factors));
}

}  // namespace dormer::adapter
