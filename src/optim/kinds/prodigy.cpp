#include <algorithm>
#include <array>
#include <cmath>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include "dormer/kernels/optimizers.hpp"
#include "dormer/optim/optimizer.hpp"
#include "dormer/tensor/device_kernels.hpp"
#include "optim/slice_parts.hpp"

namespace dormer::optim::kinds {
namespace {

constexpr std::int64_t kBlock = tensor::FlatSpace::kNormBlock;

/// Prodigy (Mishchenko and Defazio 2023, the variant on Adam) over a slice: two moments, the weighted sum of gradients
/// and the parameters of before the first update, per element; and the estimate of the distance d, alike on all ranks.
/// Its sums go over all elements: each norm block's in fp64, then block after block, so that ranks do not change them.
/// Where groups have rates of their own, the largest one makes the estimate, and each scales its own steps.
class Prodigy final : public Optimizer {
 public:
  explicit Prodigy(OptimizerInputs inputs)
      : settings_(inputs.settings),
        groups_(std::move(inputs.groups)),
        slice_(inputs.slice),
        device_(inputs.device),
        gather_blocks_(std::move(inputs.gather_blocks)),
        first_(zeros_on(slice_.count(), device_)),
        second_(zeros_on(slice_.count(), device_)),
        sums_(zeros_on(slice_.count(), device_)),
        anchors_(zeros_on(slice_.count(), device_)) {
    const auto initial = static_cast<float>(settings_.prodigy.initial_distance);
    estimate_ = {initial, initial, 0.0F};
  }

  [[nodiscard]] ElementRange slice() const override { return slice_; }

  void update(std::span<float> parameters, std::span<const float> gradients, const UpdateScalars& scalars) override {
    require_slice(slice_, parameters, gradients);
    if (scalars.step == scalars.skipped) {
      anchors_.copy_(tensor::borrowed(std::span<const float>(parameters), device_));
    }
    const double distance = estimate_[kDistance];
    const double step = distance * largest_rate(scalars) * correction(scalars);
    update_moments(gradients, scalars, distance, step);
    if (!estimate(add_blocks(block_sums(parameters, gradients, scalars)), distance, step, largest_rate(scalars))) {
      return;  // no gradient anywhere so far
    }
    for_trained(groups_, slice_, scalars, [&](ElementRange part, const ParameterGroup& group) {
      const double own = distance * group.learning_rate * scalars.schedule_factor * correction(scalars);
      const std::int64_t begin = part.begin;
      const kernels::ProdigyStepArguments arguments{
          .parameters = parameters.data() + begin,
          .first_moments = tensor::span_of(first_).data() + begin,
          .second_moments = tensor::span_of(second_).data() + begin,
          .decay = static_cast<float>(1.0 - own * group.weight_decay),
          .step_size = static_cast<float>(own),
          .epsilon = static_cast<float>(estimate_[kDistance] * settings_.epsilon)};
      tensor::kernels_for(first_).run(arguments, part.count());
    });
  }

  [[nodiscard]] std::vector<StateArray> state() override {
    return {{"first", tensor::span_of(first_)},
            {"second", tensor::span_of(second_)},
            {"weighted_sum", tensor::span_of(sums_)},
            {"anchor", tensor::span_of(anchors_)}};
  }

  [[nodiscard]] std::vector<SharedArray> shared_state() override {
    return {{.name = "distance", .shape = {std::ssize(estimate_)}, .values = estimate_}};
  }

  [[nodiscard]] std::size_t state_bytes() const override { return 4 * first_.nbytes() + sizeof(estimate_); }

 private:
  // Places in `estimate_`. They are fp32, rounded once an update, so that a checkpoint holds all of them.
  static constexpr std::size_t kDistance = 0;
  static constexpr std::size_t kLargest = 1;  ///< estimate so far
  static constexpr std::size_t kNumerator = 2;

  [[nodiscard]] double largest_rate(const UpdateScalars& scalars) const {
    double rate = 0.0;
    for (const ParameterGroup& group : groups_) {
      rate = trains(group, scalars) ? std::max(rate, group.learning_rate) : rate;
    }
    return rate * scalars.schedule_factor;
  }

  [[nodiscard]] double correction(const UpdateScalars& scalars) const {
    const double count = update_count(scalars);
    return settings_.prodigy.bias_correction
               ? std::sqrt(1.0 - std::pow(settings_.beta2, count)) / (1.0 - std::pow(settings_.beta1, count))
               : 1.0;
  }

  /// beta3 of the authors' program.
  [[nodiscard]] double sum_keep() const { return std::sqrt(settings_.beta2); }

  void update_moments(std::span<const float> gradients, const UpdateScalars& scalars, double distance, double step) {
    const double weight = distance / settings_.prodigy.initial_distance;
    const kernels::ProdigyMomentsArguments::Step scalars_of_all{
        .gradient_scale = static_cast<float>(scalars.gradient_scale),
        .first_keep = static_cast<float>(settings_.beta1),
        .first_weight = static_cast<float>(distance * (1.0 - settings_.beta1)),
        .second_keep = static_cast<float>(settings_.beta2),
        .second_weight = static_cast<float>(distance * distance * (1.0 - settings_.beta2)),
        .sum_keep = static_cast<float>(sum_keep()),
        .sum_weight = static_cast<float>(weight * (settings_.prodigy.safeguard_warmup ? distance : step))};
    for_groups(groups_, slice_, slice_, [&](ElementRange part, const ParameterGroup& group) {
      const std::int64_t begin = part.begin;
      float* const sums = tensor::span_of(sums_).data() + begin;
      if (!trains(group, scalars)) {  // what has stopped is far from nothing any more
        tensor::kernels_for(first_).run(kernels::FillArguments{sums, 0.0F}, part.count());
        return;
      }
      const kernels::ProdigyMomentsArguments arguments{.first_moments = tensor::span_of(first_).data() + begin,
                                                       .second_moments = tensor::span_of(second_).data() + begin,
                                                       .weighted_sums = sums,
                                                       .gradients = gradients.data() + begin,
                                                       .step = scalars_of_all};
      tensor::kernels_for(first_).run(arguments, part.count());
    });
  }

  /// Two numbers for each of the slice's blocks, on the host.
  [[nodiscard]] std::vector<double> block_sums(std::span<const float> parameters, std::span<const float> gradients,
                                               const UpdateScalars& scalars) const {
    const std::int64_t blocks = (slice_.count() + kBlock - 1) / kBlock;
    const at::Tensor sums = at::empty({2 * blocks}, at::TensorOptions(at::kDouble).device(at::Device(device_)));
    const kernels::ProdigySumsArguments arguments{.parameters = parameters.data(),
                                                  .anchors = tensor::span_of(anchors_).data(),
                                                  .weighted_sums = tensor::span_of(sums_).data(),
                                                  .gradients = gradients.data(),
                                                  .sums = sums.mutable_data_ptr<double>(),
                                                  .size = slice_.count(),
                                                  .width = kBlock,
                                                  .gradient_scale = static_cast<float>(scalars.gradient_scale)};
    if (blocks > 0) {
      tensor::kernels_for(first_).run(arguments, blocks);
    }
    const at::Tensor on_host = sums.cpu();
    return {on_host.const_data_ptr<double>(), on_host.const_data_ptr<double>() + 2 * blocks};
  }

  [[nodiscard]] std::array<double, 2> add_blocks(const std::vector<double>& own) const {
    const std::vector<double> all = gather_blocks_ ? gather_blocks_(own, 2) : own;
    std::array<double, 2> total{};
    for (std::size_t i = 0; i < all.size(); ++i) {
      total[i % 2] += all[i];
    }
    return total;
  }

  /// Takes the sums into the estimate; false where there is nothing to estimate from.
  bool estimate(const std::array<double, 2>& sums, double distance, double step, double rate) {
    const double weight = distance / settings_.prodigy.initial_distance;
    const double numerator = sum_keep() * estimate_[kNumerator] + weight * step * sums[0];
    estimate_[kNumerator] = static_cast<float>(numerator);
    if (!(sums[1] > 0.0)) {
      return false;
    }
    if (rate > 0.0) {
      const double found = settings_.prodigy.coefficient * numerator / sums[1];
      const double fresh =
          distance == static_cast<float>(settings_.prodigy.initial_distance) ? std::max(distance, found) : distance;
      const double largest = std::max<double>(estimate_[kLargest], found);
      const double growth = settings_.prodigy.growth_rate ? fresh * *settings_.prodigy.growth_rate : largest;
      estimate_[kLargest] = static_cast<float>(largest);
      estimate_[kDistance] = static_cast<float>(std::min(largest, growth));
    }
    return true;
  }

  OptimizerSettings settings_;
  std::vector<ParameterGroup> groups_;
  ElementRange slice_;
  std::string device_;
  GatherBlocks gather_blocks_;
  at::Tensor first_;
  at::Tensor second_;
  at::Tensor sums_;
  at::Tensor anchors_;
  std::array<float, 3> estimate_{};
};

}  // namespace

OptimizerKind prodigy() {
  return {.make = [](OptimizerInputs inputs) -> std::unique_ptr<Optimizer> {
    return std::make_unique<Prodigy>(std::move(inputs));
  }};
}

}  // namespace dormer::optim::kinds
