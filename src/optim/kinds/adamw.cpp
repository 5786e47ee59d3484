#include "dormer/kernels/adamw.hpp"

#include <ATen/core/Tensor.h>

#include "dormer/optim/optimizer.hpp"
#include "dormer/tensor/device_kernels.hpp"
#include "optim/adamw_step.hpp"
#include "optim/slice_parts.hpp"

namespace dormer::optim::kinds {
namespace {

/// AdamW over a slice: two fp32 moments per element and nothing else.
class AdamW final : public Optimizer {
 public:
  explicit AdamW(OptimizerInputs inputs)
      : settings_(inputs.settings),
        groups_(std::move(inputs.groups)),
        slice_(inputs.slice),
        first_(zeros_on(slice_.count(), inputs.device)),
        second_(zeros_on(slice_.count(), inputs.device)) {}

  [[nodiscard]] ElementRange slice() const override { return slice_; }

  void update(std::span<float> parameters, std::span<const float> gradients, const UpdateScalars& scalars) override {
    require_slice(slice_, parameters, gradients);
    for_trained(groups_, slice_, scalars, [&](ElementRange part, const ParameterGroup& group) {
      const std::int64_t begin = part.begin;
      tensor::kernels_for(first_).run(
          kernels::AdamWArguments{parameters.data() + begin, tensor::span_of(first_).data() + begin,
                                  tensor::span_of(second_).data() + begin, gradients.data() + begin,
                                  adamw_step(settings_, group, scalars)},
          part.count());
    });
  }

  [[nodiscard]] std::vector<StateArray> state() override {
    return {{"first", tensor::span_of(first_)}, {"second", tensor::span_of(second_)}};
  }

  [[nodiscard]] std::size_t state_bytes() const override { return first_.nbytes() + second_.nbytes(); }

 private:
  OptimizerSettings settings_;
  std::vector<ParameterGroup> groups_;
  ElementRange slice_;
  at::Tensor first_;
  at::Tensor second_;
};

}  // namespace

OptimizerKind adamw() {
  return {.make = [](OptimizerInputs inputs) -> std::unique_ptr<Optimizer> {
    return std::make_unique<AdamW>(std::move(inputs));
  }};
}

}  // namespace dormer::optim::kinds
