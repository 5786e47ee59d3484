#include <ATen/core/Tensor.h>

#include "dormer/optim/optimizer.hpp"
#include "optim/factored_moment.hpp"
#include "optim/slice_parts.hpp"

namespace dormer::optim::kinds {
namespace {

/// CAME (Luo et al. 2023, "Confidence-guided adaptive memory efficient optimization"), on every rank for all
/// parameters as Adafactor; its first moment is one fp32 number per element.
class Came final : public Optimizer {
 public:
  explicit Came(OptimizerInputs inputs)
      : settings_(inputs.settings),
        groups_(std::move(inputs.groups)),
        slice_(inputs.slice),
        device_(inputs.device),
        entries_(std::move(inputs.entries)),
        first_(zeros_on(slice_.count(), device_)) {
    for (const tensor::ParameterEntry& entry : entries_) {
      moments_.emplace_back("", entry, device_);
      if (FactoredMoment::matrix_of(entry).size() == 2) {
        instabilities_.emplace_back(FactoredMoment("instability_", entry, device_));
      } else {
        instabilities_.emplace_back(std::nullopt);
      }
    }
  }

  [[nodiscard]] ElementRange slice() const override { return slice_; }

  void update(std::span<float> parameters, std::span<const float> gradients, const UpdateScalars& scalars) override {
    require_slice(slice_, parameters, gradients);
    for (std::size_t index = 0; index < entries_.size(); ++index) {
      const ParameterGroup& group = group_of(groups_, entries_[index]);
      if (trains(group, scalars)) {
        const at::Tensor gradient = matrix_part(gradients, entries_[index], device_).mul(scalars.gradient_scale);
        const at::Tensor change = change_of(index, gradient);
        const double rate = group.learning_rate * scalars.schedule_factor;
        matrix_part(parameters, entries_[index], device_).mul_(1.0 - rate * group.weight_decay).sub_(change, rate);
      }
    }
  }

  [[nodiscard]] std::vector<StateArray> state() override { return {{"first", tensor::span_of(first_)}}; }

  [[nodiscard]] std::vector<SharedArray> shared_state() override {
    std::vector<SharedArray> arrays;
    for (std::size_t index = 0; index < entries_.size(); ++index) {
      moments_[index].append_arrays(arrays);
      if (instabilities_[index]) {
        instabilities_[index]->append_arrays(arrays);
      }
    }
    return arrays;
  }

  [[nodiscard]] std::size_t state_bytes() const override {
    std::size_t bytes = first_.nbytes();
    for (std::size_t index = 0; index < entries_.size(); ++index) {
      bytes += moments_[index].bytes() + (instabilities_[index] ? instabilities_[index]->bytes() : 0);
    }
    return bytes;
  }

 private:
  static constexpr double kLeastSquare = 1e-30;       ///< epsilon 1 of the paper, added to squares of gradients
  static constexpr double kLeastInstability = 1e-16;  ///< epsilon 2, added to squares of what the momentum misses

  at::Tensor change_of(std::size_t index, const at::Tensor& gradient) {
    moments_[index].add(gradient.square().add_(kLeastSquare), settings_.beta2);
    at::Tensor step = moments_[index].normalized(gradient);
    clip_root_mean_square(step, settings_.came.clip_threshold);
    const at::Tensor first = matrix_part(tensor::span_of(first_), entries_[index], device_);
    first.mul_(settings_.beta1).add_(step, 1.0 - settings_.beta1);
    if (!instabilities_[index]) {
      return first;
    }
    instabilities_[index]->add(step.sub_(first).square_().add_(kLeastInstability), settings_.came.confidence_beta);
    return instabilities_[index]->normalized(first);
  }

  OptimizerSettings settings_;
  std::vector<ParameterGroup> groups_;
  ElementRange slice_;
  std::string device_;
  std::vector<tensor::ParameterEntry> entries_;
  at::Tensor first_;
  std::vector<FactoredMoment> moments_;
  std::vector<std::optional<FactoredMoment>> instabilities_;  ///< of matrices
};

}  // namespace

OptimizerKind came() {
  return {.make = [](OptimizerInputs inputs) -> std::unique_ptr<Optimizer> {
            return std::make_unique<Came>(std::move(inputs));
          },
          .whole = true};
}

}  // namespace dormer::optim::kinds
