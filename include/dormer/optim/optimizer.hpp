#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dormer/core/random_key.hpp"
#include "dormer/core/registry.hpp"
#include "dormer/optim/kind_settings.hpp"
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
  AdafactorSettings adafactor{};
  CameSettings came{};
  ProdigySettings prodigy{};
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

/// A named array of state that every rank holds whole and alike: statistics of a parameter's rows, or a few numbers.
struct SharedArray {
  std::string name;  ///< unlike every StateArray's; of a parameter's: "rows/<parameter>"
  std::vector<std::int64_t> shape;
  std::span<float> values;
  std::string device = "cpu";  ///< where the values lie
};

/// Gradients to new parameters, for one slice of a flat parameter space. An element's update depends on its own values,
/// its group, the scalars, and sums over parameters or over everything whose order is that of the flat space: not on
/// where the slice begins or ends.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  /// The elements whose state this optimizer holds.
  [[nodiscard]] virtual ElementRange slice() const = 0;
  /// Updates `parameters` in place; both spans have `slice().count()` elements and lie on the optimizer's device.
  virtual void update(std::span<float> parameters, std::span<const float> gradients, const UpdateScalars& scalars) = 0;
  /// The state to save, and to fill when a run goes on. Names are the same for every slice. Spans are good until
  /// `close_state`.
  [[nodiscard]] virtual std::vector<StateArray> state() = 0;
  /// The rest of it, as `state`.
  [[nodiscard]] virtual std::vector<SharedArray> shared_state() { return {}; }
  /// Nobody uses any more what `state` and `shared_state` gave; `filled`: the run goes on from what is in it.
  virtual void close_state(bool filled) { static_cast<void>(filled); }
  /// Whether a run is for an average of the parameters rather than for those that are trained.
  [[nodiscard]] virtual bool averages() const { return false; }
  /// Turns the slice's trained parameters, on the optimizer's device, into their average.
  virtual void average(std::span<float> parameters) const { static_cast<void>(parameters); }
  /// Bytes that the state occupies in this process.
  [[nodiscard]] virtual std::size_t state_bytes() const = 0;
};

/// All numbers of all blocks of `FlatSpace::kNormBlock` elements in the order of the flat space, `per_block` each,
/// given those of the slice's blocks. All ranks of a run call it equally often.
using GatherBlocks = std::function<std::vector<double>(std::span<const double> own, std::int64_t per_block)>;

struct OptimizerInputs {
  OptimizerSettings settings;
  std::vector<ParameterGroup> groups;
  ElementRange slice;
  std::string device = "cpu";                     ///< as LibTorch writes it: where parameters, gradients and state lie
  std::vector<tensor::ParameterEntry> entries{};  ///< of the whole flat space, for kinds with `OptimizerKind::whole`
  GatherBlocks gather_blocks{};                   ///< null: the slice is everything
  RandomKey key{};                                ///< of what a kind draws
};

/// How to make an optimizer.
struct OptimizerKind {
  std::unique_ptr<Optimizer> (*make)(OptimizerInputs inputs) = nullptr;
  /// Its arithmetic sees whole parameters: the slice is everything, on every rank, whatever a run says about sharding.
  bool whole = false;
  std::unique_ptr<Optimizer> operator()(OptimizerInputs inputs) const { return make(std::move(inputs)); }
};

/// All kinds by name: adamw, lion, adamw_8bit, adafactor, came, prodigy, schedule_free_adamw. Generated from the
/// list in src/optim/CMakeLists.txt.
[[nodiscard]] Registry<OptimizerKind> optimizer_registry();

/// The factor that brings gradients of this global norm down to `maximum`; 1 where it is already below (or `maximum` is
/// 0: no clipping). The 1e-6 in the denominator is PyTorch's.
[[nodiscard]] double clipping_scale(double global_norm, double maximum);

}  // namespace dormer::optim
