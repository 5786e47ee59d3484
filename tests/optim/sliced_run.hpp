#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dormer/optim/optimizer.hpp"

namespace dormer::optim {

/// A small flat space with everything that optimizers meet: padded factors, a vector, more than two dimensions, gaps.
[[nodiscard]] std::vector<tensor::ParameterEntry> small_entries();
inline constexpr std::int64_t kSmallSize = 5 * tensor::FlatSpace::kNormBlock;

/// Normal with this deviation where there are parameters; zero in padding and gaps.
[[nodiscard]] std::vector<float> noise(std::uint64_t seed, double deviation);

/// Decay of the factors, a rate of its own for magnitudes.
[[nodiscard]] OptimizerSettings small_settings(double learning_rate);

/// Optimizers of neighbouring slices, which update one flat space in threads of their own, as ranks do.
class SlicedRun {
 public:
  SlicedRun(std::string kind, const OptimizerSettings& settings, int slices,
            std::vector<tensor::ParameterEntry> entries = small_entries());

  void update(std::span<const float> gradients, const UpdateScalars& scalars);

  /// All arrays of the state, whole, one after the other.
  [[nodiscard]] std::vector<float> state() const;
  void restore(const std::vector<float>& state) const;

  std::vector<float> values;

 private:
  struct Meeting;
  [[nodiscard]] std::span<float> part(std::vector<float>& whole, std::size_t slice) const;

  std::vector<ElementRange> slices_;
  std::shared_ptr<Meeting> meeting_;
  std::vector<std::unique_ptr<Optimizer>> optimizers_;
};

}  // namespace dormer::optim
