#include <ATen/core/Tensor.h>

#include "dormer/kernels/optimizers.hpp"
#include "dormer/optim/optimizer.hpp"
#include "dormer/tensor/device_kernels.hpp"
#include "optim/slice_parts.hpp"

namespace dormer::optim::kinds {
namespace {

/// Lion over a slice: one fp32 moment per element.
class Lion final : public Optimizer {
 public:
  explicit Lion(OptimizerInputs inputs)
      : settings_(inputs.settings),
        groups_(std::move(inputs.groups)),
        slice_(inputs.slice),
        moments_(zeros_on(slice_.count(), inputs.device)) {}

  [[nodiscard]] ElementRange slice() const override { return slice_; }

  void update(std::span<float> parameters, std::span<const float> gradients, const UpdateScalars& scalars) override {
    require_slice(slice_, parameters, gradients);
    for_trained(groups_, slice_, scalars, [&](ElementRange part, const ParameterGroup& group) {
      const std::int64_t begin = part.begin;
      const kernels::LionArguments arguments{.parameters = parameters.data() + begin,
                                             .moments = tensor::span_of(moments_).data() + begin,
                                             .gradients = gradients.data() + begin,
                                             .step = step_of(group, scalars)};
      tensor::kernels_for(moments_).run(arguments, part.count());
    });
  }

  [[nodiscard]] std::vector<StateArray> state() override { return {{"first", tensor::span_of(moments_)}}; }

  [[nodiscard]] std::size_t state_bytes() const override { return moments_.nbytes(); }

 private:
  [[nodiscard]] kernels::LionArguments::Step step_of(const ParameterGroup& group, const UpdateScalars& scalars) const {
    const double learning_rate = group.learning_rate * scalars.schedule_factor;
    return {.gradient_scale = static_cast<float>(scalars.gradient_scale),
            .decay = static_cast<float>(1.0 - learning_rate * group.weight_decay),
            .mixture_keep = static_cast<float>(settings_.beta1),
            .mixture_weight = static_cast<float>(1.0 - settings_.beta1),
            .keep = static_cast<float>(settings_.beta2),
            .weight = static_cast<float>(1.0 - settings_.beta2),
            .step_size = static_cast<float>(learning_rate)};
  }

  OptimizerSettings settings_;
  std::vector<ParameterGroup> groups_;
  ElementRange slice_;
  at::Tensor moments_;
};

}  // namespace

OptimizerKind lion() {
  return {.make = [](OptimizerInputs inputs) -> std::unique_ptr<Optimizer> {
    return std::make_unique<Lion>(std::move(inputs));
  }};
}

}  // namespace dormer::optim::kinds
