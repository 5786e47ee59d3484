#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "dormer/sweep/journal.hpp"
#include "dormer/sweep/scheduler.hpp"
#include "dormer/sweep/sweep_config.hpp"

namespace dormer::sweep {

/// Where a sweep's files lie. Names only; nothing is touched.
struct SweepPaths {
  std::filesystem::path root;  ///< `run.directory` of the sweep's file
  [[nodiscard]] std::filesystem::path journal() const { return root / "journal.jsonl"; }
  [[nodiscard]] std::filesystem::path config() const { return root / "sweep.yaml"; }
  [[nodiscard]] std::filesystem::path workers() const { return root / "workers"; }
  [[nodiscard]] std::filesystem::path trials() const { return root / "trials"; }
  [[nodiscard]] std::filesystem::path trial(std::int64_t number) const;
  [[nodiscard]] std::filesystem::path samples() const { return root / "samples"; }
  /// The picture that a trial made of a prompt, "0000" being the first.
  [[nodiscard]] std::filesystem::path sample(std::int64_t number, const std::string& prompt) const;
  [[nodiscard]] std::filesystem::path report() const { return root / "report.html"; }
  [[nodiscard]] std::filesystem::path best() const { return root / "best"; }
};

/// What a sweep's configuration makes of it: scheduler, sampler, rule.
class SweepState {
 public:
  explicit SweepState(const SweepConfig& config);
  [[nodiscard]] Scheduler& scheduler() { return *scheduler_; }
  [[nodiscard]] const Scheduler& scheduler() const { return *scheduler_; }
  [[nodiscard]] const StoppingRule& rule() const { return *rule_; }

 private:
  std::unique_ptr<Sampler> sampler_;
  std::unique_ptr<StoppingRule> rule_;
  std::unique_ptr<Scheduler> scheduler_;
};

/// A sweep's directory as one process works at it beside others: they agree through the journal alone, so `mpirun`, the
/// tasks of an array of jobs and a single process are the same to it. Use from one thread.
class Store {
 public:
  /// Begins the sweep, or joins it. A usage error where the directory holds another sweep, with what differs; I/O
  /// errors for a directory that cannot be written. `progress` is called while something is waited for.
  Store(const SweepConfig& config, std::function<void()> progress = {});
  ~Store();

  /// Trials for the worker of this name, at most so many. Workers that are gone are found out first.
  [[nodiscard]] std::vector<Assignment> claim(const std::string& worker, std::size_t most);
  /// Appends what became of trials, and removes the files of those that nobody goes on with.
  void append(std::vector<Event> events);
  /// Takes in what others have appended.
  void look();
  /// A usage error where model or data of this name are not what they were when a trial first loaded them.
  void check_inputs(const std::string& name, const Point& fingerprint);

  [[nodiscard]] const Scheduler& scheduler() const { return state_.scheduler(); }
  [[nodiscard]] const SweepConfig& config() const { return config_; }
  [[nodiscard]] const SweepPaths& paths() const { return paths_; }

 private:
  void begin_or_join();
  void apply(const Event& event);
  void remove_superseded();
  [[nodiscard]] std::vector<Event> losses() const;

  const SweepConfig& config_;
  SweepPaths paths_;
  SweepState state_;
  Journal journal_;
  std::string identity_;  ///< of the journal's first line; empty: it has none yet
  std::map<std::string, Point> inputs_;
  std::set<std::int64_t> ended_;  ///< trials whose files were not looked at since they ended
  double looked_for_losses_ = -1e9;
};

/// The kernel's locks, or folders where DORMER_SWEEP_LOCK=folder is set.
[[nodiscard]] LockKind chosen_lock();

/// Seconds since 1970.
[[nodiscard]] double unix_time();

}  // namespace dormer::sweep
