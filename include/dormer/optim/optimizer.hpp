#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dormer/core/registry.hpp"
#include "dormer/tensor/flat_space.hpp"

namespace dormer::optim {

/// Elements [begin, end) of a flat parameter space.
struct ElementRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  [[nodiscard]] std::int64_t count() const { return end - begin; }
  bool operator==(const ElementRange&) const = default;
};

/// A run of elements that share a learning rate and a weight decay.
struct ParameterGroup {
  ElementRange range;
  double learning_rate = 0.0;  ///< before the schedule's factor
  double weight_decay = 0.0;
  std::optional<std::int64_t> stop_after{};  ///< updates after which the elements and their state stay as they are
  bool operator==(const ParameterGroup&) const = default;
};

/// Learning rate and weight decay of one role of parameters.
struct GroupSettings {
  double learning_rate = 0.0;
  double weight_decay = 0.0;
};

struct OptimizerSettings {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  GroupSettings factors{};          ///< low-rank factors and whole weights
  GroupSettings magnitudes{};       ///< decay 0 unless the user asks for it
  double outer_factor_ratio = 1.0;  ///< learning rate of B over that of A: LoRA+ (Hayou et al. 2024)
};

/// The groups of a flat space, neighbours of one kind merged; they cover `[0, size)` without gaps. A rate of an entry's
/// own stands before LoRA+'s ratio. Pure.
[[nodiscard]] std::vector<ParameterGroup> plan_groups(std::span<const tensor::ParameterEntry> entries,
                                                      std::int64_t size, const OptimizerSettings& settings);

/// What changes from update to update.
struct UpdateScalars {
  std::int64_t step = 0;     ///< of this update, counted from 0
  std::int64_t skipped = 0;  ///< of the updates before, how many changed nothing
  double schedule_factor = 1.0;
  double gradient_scale = 1.0;  ///< clipping: every gradient is multiplied by it
};

/// A named buffer of an optimizer's state, on its device; element i belongs to element `slice.begin + i` of the flat
/// space.
struct StateArray {
  std::string name;
  std::span<float> values;
};

/// Gradients to new parameters, for one slice of a flat parameter space. An element's update depends on its own values,
/// its group and the scalars only: not on where the slice begins or ends.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  /// The elements whose state this optimizer holds.
  [[nodiscard]] virtual ElementRange slice() const = 0;
  /// Updates `parameters` in place; both spans have `slice().count()` elements and lie on the optimizer's device.
  virtual void update(std::span<float> parameters, std::span<const float> gradients, const UpdateScalars& scalars) = 0;
  /// The state to save, and to fill when a run goes on. Names are the same for every slice.
  [[nodiscard]] virtual std::vector<StateArray> state() = 0;
  /// Bytes that the state occupies in this process.
  [[nodiscard]] virtual std::size_t state_bytes() const = 0;
};

struct OptimizerInputs {
  OptimizerSettings settings;
  std::vector<ParameterGroup> groups;
  ElementRange slice;
  std::string device = "cpu";  ///< as LibTorch writes it: where parameters, gradients and state lie
};

using OptimizerFactory = std::unique_ptr<Optimizer> (*)(OptimizerInputs inputs);

/// All kinds by name: adamw. Generated from the list in src/optim/CMakeLists.txt.
[[nodiscard]] Registry<OptimizerFactory> optimizer_registry();

/// The factor that brings gradients of this global norm down to `maximum`; 1 where it is already below (or `maximum` is
/// 0: no clipping). The 1e-6 in the denominator is PyTorch's.
[[nodiscard]] double clipping_scale(double global_norm, double maximum);

}  // namespace dormer::optim
