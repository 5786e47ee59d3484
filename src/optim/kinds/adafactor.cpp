#include <algorithm>
#include <cmath>

#include <ATen/core/Tensor.h>

#include "dormer/optim/optimizer.hpp"
#include "optim/factored_moment.hpp"
#include "optim/slice_parts.hpp"

namespace dormer::optim::kinds {
namespace {

/// Adafactor (Shazeer and Stern 2018) without a first moment, on every rank for all parameters: their statistics are
/// too small to be shared among ranks, and need whole parameters.
class Adafactor final : public Optimizer {
 public:
  explicit Adafactor(OptimizerInputs inputs)
      : settings_(inputs.settings.adafactor),
        groups_(std::move(inputs.groups)),
        slice_(inputs.slice),
        device_(inputs.device),
        entries_(std::move(inputs.entries)) {
    for (const tensor::ParameterEntry& entry : entries_) {
      moments_.emplace_back("", entry, device_);
    }
  }

  [[nodiscard]] ElementRange slice() const override { return slice_; }

  void update(std::span<float> parameters, std::span<const float> gradients, const UpdateScalars& scalars) override {
    require_slice(slice_, parameters, gradients);
    for (std::size_t index = 0; index < entries_.size(); ++index) {
      const ParameterGroup& group = group_of(groups_, entries_[index]);
      if (trains(group, scalars)) {
        at::Tensor values = matrix_part(parameters, entries_[index], device_);
        update_parameter(values, matrix_part(gradients, entries_[index], device_), moments_[index], group, scalars);
      }
    }
  }

  [[nodiscard]] std::vector<StateArray> state() override { return {}; }

  [[nodiscard]] std::vector<SharedArray> shared_state() override {
    std::vector<SharedArray> arrays;
    for (const FactoredMoment& moment : moments_) {
      moment.append_arrays(arrays);
    }
    return arrays;
  }

  [[nodiscard]] std::size_t state_bytes() const override {
    std::size_t bytes = 0;
    for (const FactoredMoment& moment : moments_) {
      bytes += moment.bytes();
    }
    return bytes;
  }

 private:
  static constexpr double kLeastSquare = 1e-30;  ///< epsilon 1 of the paper, added to squares
  static constexpr double kLeastScale = 1e-3;    ///< epsilon 2, of parameters near zero

  void update_parameter(at::Tensor& values, const at::Tensor& gradients, FactoredMoment& moment,
                        const ParameterGroup& group, const UpdateScalars& scalars) const {
    const double count = update_count(scalars);
    const at::Tensor gradient = gradients.mul(scalars.gradient_scale);
    moment.add(gradient.square().add_(kLeastSquare), 1.0 - std::pow(count, -settings_.decay_exponent));
    at::Tensor change = moment.normalized(gradient);
    clip_root_mean_square(change, settings_.clip_threshold);
    const double bound =
        settings_.relative_step ? std::min(group.learning_rate, 1.0 / std::sqrt(count)) : group.learning_rate;
    const double rate = bound * scalars.schedule_factor;
    if (!settings_.scale_parameter) {
      values.mul_(1.0 - rate * group.weight_decay).sub_(change, rate);
      return;
    }
    const at::Tensor scaled = values.square().mean().sqrt().clamp_min(kLeastScale).mul(rate);
    values.sub_(values.mul(scaled.mul(group.weight_decay))).sub_(change.mul_(scaled));
  }

  AdafactorSettings settings_;
  std::vector<ParameterGroup> groups_;
  ElementRange slice_;
  std::string device_;
  std::vector<tensor::ParameterEntry> entries_;
  std::vector<FactoredMoment> moments_;
};

}  // namespace

OptimizerKind adafactor() {
  return {.make = [](OptimizerInputs inputs) -> std::unique_ptr<Optimizer> {
            return std::make_unique<Adafactor>(std::move(inputs));
          },
          .whole = true};
}

}  // namespace dormer::optim::kinds
