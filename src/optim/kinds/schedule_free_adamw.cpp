#include <algorithm>
#include <array>
#include <cmath>

#include <ATen/core/Tensor.h>

#include "dormer/kernels/optimizers.hpp"
#include "dormer/optim/optimizer.hpp"
#include "dormer/tensor/device_kernels.hpp"
#include "optim/slice_parts.hpp"

namespace dormer::optim::kinds {
namespace {

/// Schedule-free AdamW (Defazio et al. 2024) over a slice. The parameters are y, where gradients are taken; the state
/// holds z, where gradient steps go, and a second moment. The average x = y + (1 - 1 / beta1) (z - y) is what a run is
/// for. Updates count in it with the square of the largest factor of the schedule so far: a warm-up counts less.
class ScheduleFreeAdamW final : public Optimizer {
 public:
  explicit ScheduleFreeAdamW(OptimizerInputs inputs)
      : settings_(inputs.settings),
        groups_(std::move(inputs.groups)),
        slice_(inputs.slice),
        device_(inputs.device),
        bases_(zeros_on(slice_.count(), device_)),
        second_(zeros_on(slice_.count(), device_)) {}

  [[nodiscard]] ElementRange slice() const override { return slice_; }

  void update(std::span<float> parameters, std::span<const float> gradients, const UpdateScalars& scalars) override {
    require_slice(slice_, parameters, gradients);
    if (scalars.step == scalars.skipped) {
      bases_.copy_(tensor::borrowed(std::span<const float>(parameters), device_));
    }
    const double mixture = next_mixture(scalars.schedule_factor);
    for_trained(groups_, slice_, scalars, [&](ElementRange part, const ParameterGroup& group) {
      const std::int64_t begin = part.begin;
      const kernels::ScheduleFreeArguments arguments{.points = parameters.data() + begin,
                                                     .bases = tensor::span_of(bases_).data() + begin,
                                                     .second_moments = tensor::span_of(second_).data() + begin,
                                                     .gradients = gradients.data() + begin,
                                                     .step = step_of(group, scalars, mixture)};
      tensor::kernels_for(bases_).run(arguments, part.count());
    });
  }

  [[nodiscard]] std::vector<StateArray> state() override {
    return {{"base", tensor::span_of(bases_)}, {"second", tensor::span_of(second_)}};
  }

  [[nodiscard]] std::vector<SharedArray> shared_state() override {
    return {{.name = "weights", .shape = {std::ssize(weights_)}, .values = weights_}};
  }

  [[nodiscard]] std::size_t state_bytes() const override {
    return bases_.nbytes() + second_.nbytes() + sizeof(weights_);
  }

  [[nodiscard]] bool averages() const override { return true; }

  void average(std::span<float> parameters) const override {
    if (weights_[kSum] > 0.0F) {
      const at::Tensor points = tensor::borrowed(parameters, device_);
      points.add_(bases_.sub(points).mul_(1.0 - 1.0 / settings_.beta1));
    }
  }

 private:
  // Places in `weights_`: fp32, rounded once an update, so that a checkpoint holds all of them.
  static constexpr std::size_t kSum = 0;      ///< of all weights so far
  static constexpr std::size_t kLargest = 1;  ///< factor of the schedule so far

  /// The share of z in the average from this update on: c of the paper.
  double next_mixture(double factor) {
    weights_[kLargest] = std::max(weights_[kLargest], static_cast<float>(factor));
    const double weight = static_cast<double>(weights_[kLargest]) * static_cast<double>(weights_[kLargest]);
    weights_[kSum] = static_cast<float>(weights_[kSum] + weight);
    return weights_[kSum] > 0.0F ? std::min(weight / weights_[kSum], 1.0) : 1.0;
  }

  [[nodiscard]] kernels::ScheduleFreeArguments::Step step_of(const ParameterGroup& group, const UpdateScalars& scalars,
                                                             double mixture) const {
    const double rate = group.learning_rate * scalars.schedule_factor;
    return {
        .gradient_scale = static_cast<float>(scalars.gradient_scale),
        .second_keep = static_cast<float>(settings_.beta2),
        .second_weight = static_cast<float>(1.0 - settings_.beta2),
        .second_correction_root = static_cast<float>(std::sqrt(1.0 - std::pow(settings_.beta2, update_count(scalars)))),
        .epsilon = static_cast<float>(settings_.epsilon),
        .weight_decay = static_cast<float>(group.weight_decay),
        .base_step = static_cast<float>(rate),
        .point_step = static_cast<float>(rate * (1.0 - settings_.beta1 * (1.0 - mixture))),
        .mixture = static_cast<float>(mixture)};
  }

  OptimizerSettings settings_;
  std::vector<ParameterGroup> groups_;
  ElementRange slice_;
  std::string device_;
  at::Tensor bases_;
  at::Tensor second_;
  std::array<float, 2> weights_{};
};

}  // namespace

OptimizerKind schedule_free_adamw() {
  return {.make = [](OptimizerInputs inputs) -> std::unique_ptr<Optimizer> {
    return std::make_unique<ScheduleFreeAdamW>(std::move(inputs));
  }};
}

}  // namespace dormer::optim::kinds
