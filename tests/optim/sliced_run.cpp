#include "optim/sliced_run.hpp"

#include <algorithm>
#include <barrier>
#include <cmath>
#include <numbers>
#include <thread>

#include <ATen/Parallel.h>

#include "dormer/core/random_key.hpp"

namespace dormer::optim {

std::vector<tensor::ParameterEntry> small_entries() {
  using tensor::ParameterRole;
  return {{"a", {5, 300}, {16, 300}, ParameterRole::kFactorIn, 0},
          {"b", {5, 700}, {16, 700}, ParameterRole::kFactorOut, 4'800},
          {"m", {700}, {700}, ParameterRole::kMagnitude, 16'000},
          {"w", {3, 4, 2, 2}, {3, 4, 2, 2}, ParameterRole::kFull, 16'704}};
}

std::vector<float> noise(std::uint64_t seed, double deviation) {
  std::vector<float> values(kSmallSize, 0.0F);
  for (const tensor::ParameterEntry& entry : small_entries()) {
    for (std::int64_t i = entry.offset; i < entry.offset + entry.count(); ++i) {
      const auto words = philox(RandomKey{seed}, static_cast<std::uint64_t>(i));
      const double radius = std::sqrt(-2.0 * std::log(1.0 - static_cast<double>(to_uniform(words[0]))));
      const double angle = 2.0 * std::numbers::pi * static_cast<double>(to_uniform(words[1]));
      values[static_cast<std::size_t>(i)] = static_cast<float>(deviation * radius * std::cos(angle));
    }
  }
  return values;
}

OptimizerSettings small_settings(double learning_rate) {
  OptimizerSettings settings;
  settings.beta2 = 0.99;
  settings.factors = {learning_rate, 0.1};
  settings.magnitudes = {2.0 * learning_rate, 0.0};
  return settings;
}

/// Where the slices' threads bring their numbers together.
struct SlicedRun::Meeting {
  explicit Meeting(std::ptrdiff_t slices) : barrier(slices), parts(static_cast<std::size_t>(slices)) {}
  std::barrier<> barrier;
  std::vector<std::vector<double>> parts;

  std::vector<double> gather(std::size_t slice, std::span<const double> own) {
    parts[slice].assign(own.begin(), own.end());
    barrier.arrive_and_wait();
    std::vector<double> all;
    for (const std::vector<double>& part : parts) {
      all.insert(all.end(), part.begin(), part.end());
    }
    barrier.arrive_and_wait();
    return all;
  }
};

SlicedRun::SlicedRun(std::string kind, const OptimizerSettings& settings, int slices,
                     std::vector<tensor::ParameterEntry> entries)
    : values(noise(1, 0.1)), meeting_(std::make_shared<Meeting>(slices)) {
  at::set_num_threads(
      1);  // arrays this small gain nothing from more, and waiting for them costs much on a busy machine
  constexpr std::int64_t kBlock = tensor::FlatSpace::kNormBlock;
  for (int index = 0; index < slices; ++index) {
    const std::int64_t begin = kSmallSize / kBlock * index / slices * kBlock;
    slices_.push_back({begin, kSmallSize / kBlock * (index + 1) / slices * kBlock});
    const auto gather = [meeting = meeting_.get(), index](std::span<const double> own, std::int64_t) {
      return meeting->gather(static_cast<std::size_t>(index), own);
    };
    optimizers_.push_back(optimizer_registry().get("kind", kind)({.settings = settings,
                                                                  .groups = plan_groups(entries, kSmallSize, settings),
                                                                  .slice = slices_.back(),
                                                                  .entries = entries,
                                                                  .gather_blocks = gather,
                                                                  .key = RandomKey{5}}));
  }
}

std::span<float> SlicedRun::part(std::vector<float>& whole, std::size_t slice) const {
  return std::span(whole).subspan(static_cast<std::size_t>(slices_[slice].begin),
                                  static_cast<std::size_t>(slices_[slice].count()));
}

void SlicedRun::update(std::span<const float> gradients, const UpdateScalars& scalars) {
  if (slices_.size() == 1) {
    optimizers_.front()->update(values, gradients, scalars);
    return;
  }
  std::vector<std::thread> threads;
  std::vector<float> all(gradients.begin(), gradients.end());
  for (std::size_t slice = 0; slice < slices_.size(); ++slice) {
    threads.emplace_back([&, slice] { optimizers_[slice]->update(part(values, slice), part(all, slice), scalars); });
  }
  std::for_each(threads.begin(), threads.end(), [](std::thread& thread) { thread.join(); });
}

std::vector<float> SlicedRun::state() const {
  std::vector<float> all;
  const std::size_t arrays = optimizers_.front()->state().size();
  for (std::size_t array = 0; array < arrays; ++array) {
    for (const auto& optimizer : optimizers_) {
      const std::vector<StateArray> state = optimizer->state();
      all.insert(all.end(), state[array].values.begin(), state[array].values.end());
    }
  }
  for (const SharedArray& shared : optimizers_.front()->shared_state()) {
    all.insert(all.end(), shared.values.begin(), shared.values.end());
  }
  std::for_each(optimizers_.begin(), optimizers_.end(), [](const auto& optimizer) { optimizer->close_state(false); });
  return all;
}

void SlicedRun::restore(const std::vector<float>& state) const {
  for (std::size_t slice = 0; slice < slices_.size(); ++slice) {
    Optimizer& optimizer = *optimizers_[slice];
    auto from = state.begin();
    for (const StateArray& array : optimizer.state()) {
      std::copy_n(from + slices_[slice].begin, slices_[slice].count(), array.values.begin());
      from += kSmallSize;
    }
    for (const SharedArray& shared : optimizer.shared_state()) {
      std::copy_n(from, shared.values.size(), shared.values.begin());
      from += std::ssize(shared.values);
    }
    optimizer.close_state(true);
  }
}

}  // namespace dormer::optim
