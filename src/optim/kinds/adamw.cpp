#include <algorithm>
#include <cmath>

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "dormer/kernels/adamw.hpp"
#include "dormer/optim/optimizer.hpp"
#include "dormer/tensor/device_kernels.hpp"

namespace dormer::optim::kinds {
namespace {

/// AdamW over a slice: two fp32 moments per element and nothing else.
class AdamW final : public Optimizer {
 public:
  explicit AdamW(OptimizerInputs inputs)
      : settings_(inputs.settings),
        groups_(std::move(inputs.groups)),
        slice_(inputs.slice),
        first_(at::zeros({slice_.count()}, at::TensorOptions(at::kFloat).device(at::Device(inputs.device)))),
        second_(at::zeros_like(first_)) {}

  [[nodiscard]] ElementRange slice() const override { return slice_; }

  void update(std::span<float> parameters, std::span<const float> gradients, const UpdateScalars& scalars) override {
    invariant(std::ssize(parameters) == slice_.count() && std::ssize(gradients) == slice_.count(),
              "AdamW holds {} elements, got {} parameters and {} gradients", slice_.count(), parameters.size(),
              gradients.size());
    for (const ParameterGroup& group : groups_) {
      const std::int64_t begin = std::max(group.range.begin, slice_.begin) - slice_.begin;
      const std::int64_t end = std::min(group.range.end, slice_.end) - slice_.begin;
      if (begin < end && scalars.step < group.stop_after.value_or(scalars.step + 1)) {
        update_range({begin, end}, parameters, gradients, step_of(group, scalars));
      }
    }
  }

  [[nodiscard]] std::vector<StateArray> state() override {
    return {{"first", values_of(first_)}, {"second", values_of(second_)}};
  }

  [[nodiscard]] std::size_t state_bytes() const override { return first_.nbytes() + second_.nbytes(); }

 private:
  [[nodiscard]] kernels::AdamWStep step_of(const ParameterGroup& group, const UpdateScalars& scalars) const {
    const auto count = static_cast<double>(scalars.step - scalars.skipped + 1);
    const double learning_rate = group.learning_rate * scalars.schedule_factor;
    return {.gradient_scale = static_cast<float>(scalars.gradient_scale),
            .decay = static_cast<float>(1.0 - learning_rate * group.weight_decay),
            .first_weight = static_cast<float>(1.0 - settings_.beta1),
            .second_keep = static_cast<float>(settings_.beta2),
            .second_weight = static_cast<float>(1.0 - settings_.beta2),
            .second_correction_root = static_cast<float>(std::sqrt(1.0 - std::pow(settings_.beta2, count))),
            .epsilon = static_cast<float>(settings_.epsilon),
            .step_size = static_cast<float>(learning_rate / (1.0 - std::pow(settings_.beta1, count)))};
  }

  void update_range(ElementRange range, std::span<float> parameters, std::span<const float> gradients,
                    const kernels::AdamWStep& step) {
    const std::int64_t begin = range.begin;
    tensor::kernels_for(first_).run(
        kernels::AdamWArguments{parameters.data() + begin, values_of(first_).data() + begin,
                                values_of(second_).data() + begin, gradients.data() + begin, step},
        range.count());
  }

  static std::span<float> values_of(const at::Tensor& moments) {
    return {moments.mutable_data_ptr<float>(), static_cast<std::size_t>(moments.numel())};
  }

  OptimizerSettings settings_;
  std::vector<ParameterGroup> groups_;
  ElementRange slice_;
  at::Tensor first_;
  at::Tensor second_;
};

}  // namespace

OptimizerFactory adamw() {
  return
      [](OptimizerInputs inputs) -> std::unique_ptr<Optimizer> { return std::make_unique<AdamW>(std::move(inputs)); };
}

}  // namespace dormer::optim::kinds
