#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/core/dtype.hpp"
#include "dormer/interop/adapter_format.hpp"
#include "dormer/objective/next_token.hpp"
#include "dormer/tensor/forward.hpp"

namespace dormer::train {

class TextTask;

/// Consecutive samples of a run's endless sequence.
struct SampleRange {
  std::int64_t first = 0;
  std::int64_t count = 0;
};

class Task;

/// The samples of one trial of a pack.
struct PackedSamples {
  const Task* task = nullptr;
  SampleRange samples;
};

/// What a run trains on: a frozen model with data to learn from and to validate with. Trials, validation and exports
/// know it by this alone, whatever the model is and the samples are. Immutable; nothing here communicates.
class Task {
 public:
  Task() = default;
  virtual ~Task() = default;
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

  /// The layers where adapters attach (site.index is the position).
  [[nodiscard]] virtual std::span<const adapter::FrozenLayer> layers() const = 0;
  [[nodiscard]] virtual adapter::AddedTokensRequest added_tokens() const { return {}; }
  /// Samples of an epoch.
  [[nodiscard]] virtual std::int64_t samples() const = 0;
  /// Tokens of a sample, in which speed is told; 0: it is told in samples.
  [[nodiscard]] virtual std::int64_t tokens_per_sample() const { return 0; }
  /// Which of the data's samples stands at a position of the run's sequence.
  [[nodiscard]] virtual std::int64_t sample_at(std::int64_t position) const = 0;
  /// What the loss of these samples counts over (tokens, or samples): known before any of them is read.
  [[nodiscard]] virtual std::int64_t targets(const SampleRange& samples) const = 0;
  /// The loss of one micro-batch; with `scale.backward` gradients are added to the bound slots of the pack's adapters.
  [[nodiscard]] virtual objective::LossSums loss(const SampleRange& samples, const adapter::Pack& pack,
                                                 const objective::LossScale& scale) const = 0;
  /// Whether trials of this task and of `other` can share forward passes: same model and data, only the order differs.
  [[nodiscard]] virtual bool shares_passes_with(const Task& other) const { return &other == this; }
  /// The losses of one micro-batch of each member (tasks that share passes), computed together: the pack has a segment
  /// for each, and `divisors` stand in place of `scale.divisor`. Every member's numbers are those of `loss` alone.
  [[nodiscard]] virtual std::vector<objective::LossSums> losses(std::span<const PackedSamples> members,
                                                                const adapter::Pack& pack,
                                                                std::span<const double> divisors,
                                                                const objective::LossScale& scale) const;
  /// Samples to validate with; 0: there are none.
  [[nodiscard]] virtual std::int64_t validation_samples() const = 0;
  [[nodiscard]] virtual objective::LossSums validation_loss(const SampleRange& samples,
                                                            const adapter::Pack& pack) const = 0;
  /// Names of the groups of samples to validate with whose losses are told apart, such as concepts; empty: one group.
  [[nodiscard]] virtual std::vector<std::string> validation_groups() const { return {}; }
  /// Of those groups the one that a sample is in.
  [[nodiscard]] virtual std::size_t validation_group(std::int64_t /*sample*/) const { return 0; }
  /// The arrays that a trace tells of these samples: "tokens", "targets", ….
  using ArrayVisitor = std::function<void(const std::string& name, const at::Tensor& values, DType dtype)>;
  virtual void visit_arrays(const SampleRange& samples, const ArrayVisitor& visit) const = 0;
  /// What exports say of the base.
  [[nodiscard]] virtual interop::BaseFacts base_facts() const = 0;
  /// What a resumed run compares of the data: "data.train", "data.validation".
  [[nodiscard]] virtual std::map<std::string, std::string> fingerprints() const = 0;
  /// How many pictures show how the model stands; 0: it makes none.
  [[nodiscard]] virtual std::int64_t pictures() const { return 0; }
  /// Makes the picture `index` with these adapters and writes it as PNG. False where `goes_on`, asked after each step,
  /// said no: there is no file then.
  [[nodiscard]] virtual bool write_picture(std::int64_t index, const adapter::AdapterSet& adapters,
                                           const std::filesystem::path& file,
                                           const std::function<bool()>& goes_on) const;
  /// This task where it is about text, for what only texts have; else null.
  [[nodiscard]] virtual const TextTask* text() const { return nullptr; }
};

}  // namespace dormer::train
