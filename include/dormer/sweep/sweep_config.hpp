#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dormer/config/tree.hpp"
#include "dormer/config/visitor.hpp"
#include "dormer/sweep/space.hpp"
#include "dormer/train/run_config.hpp"

namespace dormer::sweep {

/// When trials end before their time.
struct StoppingSection {
  std::string kind = "none";                  ///< none | halving | asha | median | patience
  std::optional<std::int64_t> minimum_steps;  ///< updates that every trial gets; given with halving and asha
  std::int64_t factor = 4;                    ///< of halving and asha: of so many, one goes on
  std::optional<std::int64_t> patience;       ///< measurements without a better one; given with patience
  void describe(config::Visitor& visitor);
};

/// The group `sweep` of a file, but for `space`. The keys are a contract with users' scripts.
struct SweepSection {
  std::string method = "random";           ///< a name of `sampler_registry`
  std::optional<std::int64_t> trials;      ///< points to try; absent: all of a grid
  std::int64_t seeds = 1;                  ///< replicas of every point, under run.seed, run.seed + 1, …
  std::int64_t seed = 0;                   ///< of the sampler
  std::string metric = "validation_loss";  ///< validation_loss | loss
  std::string goal = "minimize";           ///< minimize | maximize
  StoppingSection stopping;
  std::string pack = "auto";  ///< auto | how many trials share a step, at most
  std::int64_t ranks_per_trial = 1;
  std::optional<std::int64_t> max_failed = 4;  ///< failed trials before the sweep ends; nothing: no limit
  std::optional<std::string> budget;           ///< "40 gpu-hours", "90 min"
  std::int64_t lag = 8;                        ///< see `visible_before`
  std::int64_t keep = 1;                       ///< best trials whose checkpoints stay when the sweep ends
  std::optional<std::string> evaluate;         ///< a command that measures a trial
  void describe(config::Visitor& visitor);

  /// `pack` as a number; nothing: auto.
  [[nodiscard]] std::optional<std::int64_t> pack_limit() const;
  /// `budget` in seconds of one device; nothing: no end.
  [[nodiscard]] std::optional<double> budget_seconds() const;
};

/// A sweep's file, read and checked. Copies are independent.
struct SweepConfig {
  train::RunConfig run;  ///< the file's ordinary part as it stands, without any point
  SweepSection sweep;
  Space space;
  config::Document document;  ///< the ordinary part, to apply points to
};

/// Reads `file`, applies "a.b=c" overrides, and throws one usage error with every mistake: of keys, values and rules,
/// of the space, and of values of the space that no run would take.
[[nodiscard]] SweepConfig load_sweep_config(const std::filesystem::path& file,
                                            std::span<const std::string> overrides = {});

/// The run of a point under one of its seeds: the file with the point's settings applied as `--set path=text`, and
/// `run.seed` + replica. Throws a usage error that names the point's settings where no such run can be.
[[nodiscard]] train::RunConfig trial_config(const SweepConfig& config, const Point& point, std::int64_t replica);

/// How many points the sweep tries: `trials`, at most those that there are.
[[nodiscard]] std::int64_t point_count(const SweepConfig& config);

/// The points that a learning sampler is shown when it proposes this one: those with smaller numbers than the one
/// returned. They are `lag` behind, so that as many trials may run side by side, and the proposals are the same however
/// many do: which results are known never depends on who was faster.
[[nodiscard]] inline std::int64_t visible_before(std::int64_t number, std::int64_t lag) {
  return number > lag ? number - lag : 0;
}

/// A SHA-256 over what makes it this sweep: space, method, seeds, metric, stopping rule, and the run without what may
/// change when it is resumed. More trials, another budget or name are the same sweep.
[[nodiscard]] std::string identity(const SweepConfig& config);

/// What docs/configuration.md says of the group `sweep`.
[[nodiscard]] std::string configuration_section();

}  // namespace dormer::sweep
