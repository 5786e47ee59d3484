#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "dormer/sweep/event.hpp"
#include "dormer/sweep/sampler.hpp"
#include "dormer/sweep/stopping.hpp"
#include "dormer/sweep/trial_record.hpp"

namespace dormer::sweep {

/// What a sweep is to its scheduler; how many points it has is said by the journal.
struct SchedulerPlan {
  std::int64_t seeds = 1;        ///< trials of each point
  std::int64_t total_steps = 0;  ///< updates of a whole trial
  bool maximize = false;
  std::int64_t lag = 8;  ///< points that a learning sampler may run ahead of what it has seen
  std::optional<std::int64_t> max_failed{};
  std::optional<double> budget_seconds{};  ///< of training, all trials together
  /// A trial whose workers were lost so often in a row, without anything saved between, has failed: it may be what
  /// kills them.
  std::int64_t max_lives = 8;
};

/// A trial for a worker, up to `until` updates.
struct Assignment {
  std::int64_t trial = 0;
  std::int64_t point = 0;
  std::int64_t replica = 0;
  std::int64_t attempt = 1;
  std::int64_t until = 0;
  Point settings{};
  bool fresh = false;  ///< nobody had it before
};

/// What is known of a sweep, and what is to be done next: a pure function of the plan and of the journal's events in
/// their order, so every process that reads the same journal decides the same.
class Scheduler {
 public:
  /// The sampler must outlive it.
  Scheduler(const SchedulerPlan& plan, const Sampler& sampler, const StoppingRule& rule);

  /// Takes an event in. One of an attempt that is not a trial's last counts no more, and changes nothing.
  void apply(const Event& event);

  /// What a free worker takes, all of them up to the same update: trials that wait to go on before new ones, those that
  /// are further before others. Nothing where it must wait for others, or all is done.
  [[nodiscard]] std::vector<Assignment> next(std::size_t most) const;
  /// Whether nothing is left to be done: no trial waits or runs, or the sweep has ended (`ending`) and none runs.
  [[nodiscard]] bool finished() const;
  /// Why the sweep ends before its trials do: too many failed, or the budget is spent; empty: it does not. What runs
  /// comes to where it was to come.
  [[nodiscard]] const std::string& ending() const { return ending_; }
  /// The last failure's fault where too many failed.
  [[nodiscard]] std::optional<Fault> ending_fault() const { return ending_fault_; }

  /// All trials that were begun, by number.
  [[nodiscard]] std::vector<TrialRecord> trials() const;
  [[nodiscard]] const TrialRecord* find(std::int64_t trial) const;
  [[nodiscard]] const std::vector<std::int64_t>& rungs() const { return rung_steps_; }
  [[nodiscard]] const SchedulerPlan& plan() const { return plan_; }
  [[nodiscard]] std::int64_t points() const { return points_planned_; }
  /// Whether the sweep can be given more points: none was judged beside too few others, and none was added by hand,
  /// under a number behind the last.
  [[nodiscard]] bool can_grow() const;
  /// The number of a trial that `kAdded` may bring.
  [[nodiscard]] std::int64_t next_added() const;
  /// The workers that have trials now, and which.
  [[nodiscard]] std::map<std::string, std::vector<std::int64_t>> busy_workers() const;
  /// Whether somebody stopped a trial that is still with a worker.
  [[nodiscard]] bool asked_to_stop(std::int64_t trial) const;
  [[nodiscard]] std::int64_t attempt_of(std::int64_t trial) const;
  /// Points all of whose trials have ended, with the mean of their complete ones; nothing: none is complete.
  [[nodiscard]] const std::map<std::int64_t, std::optional<double>>& ended_points() const { return ended_points_; }
  [[nodiscard]] std::vector<std::int64_t> trials_of(std::int64_t point) const;
  [[nodiscard]] double seconds() const { return seconds_; }
  /// Seconds from the first event to the last.
  [[nodiscard]] double elapsed() const { return last_time_ - first_time_; }

 private:
  struct Course {  ///< of a trial: its record, and what only the scheduler knows
    TrialRecord record;
    std::int64_t attempt = 0;
    std::int64_t lives = 0;  ///< workers lost with it in a row, without anything saved between
    std::int64_t saved = 0;  ///< updates on the disk when the last one was lost
    bool asked_to_stop = false;
    [[nodiscard]] bool ended() const;
  };
  struct PointState {
    Point settings;
    std::vector<std::int64_t> trials;  ///< that were begun
    std::size_t rung = 0;              ///< the one that it comes to next; that many as there are: judged no more
    bool waits = false;                ///< at that rung, for a verdict
  };
  struct RungState {
    std::unique_ptr<Rung> rung;
    std::int64_t expected = 0;  ///< points that come to it, as far as is known
    std::int64_t arrived = 0;
    bool closed = false;
  };

  void begin(const Event& event);
  void measure(const Event& event);
  void release(Course& course);
  void end(Course& course, TrialState state, const std::string& reason);
  void lose(const Event& event);
  void stop(const Event& event);
  void add(const Event& event);
  void take_measurements(Course& course, const std::vector<Measurement>& measurements);
  /// Lets the point arrive at its next rung if all its trials have come there or ended.
  void arrive_if_complete(std::int64_t point);
  void judge(std::size_t rung, const std::vector<Judgement>& judgements);
  void close_rungs();
  void note_seen();
  [[nodiscard]] std::int64_t replicas(std::int64_t point) const;
  [[nodiscard]] std::int64_t until(const Course& course) const;
  [[nodiscard]] Course* current(const Event& event);
  /// The mean over the trials of a point that were measured after `step` updates, or have completed before, the lower
  /// the better.
  [[nodiscard]] std::optional<double> mean_at(std::int64_t point, std::int64_t step) const;
  [[nodiscard]] std::optional<Assignment> fresh(std::int64_t trial) const;
  [[nodiscard]] Assignment assignment_of(const Course& course) const;
  void check_ending(Fault last);

  SchedulerPlan plan_;
  const Sampler& sampler_;
  std::int64_t points_planned_ = 0;
  std::vector<std::int64_t> rung_steps_;
  std::vector<RungState> rungs_;
  std::map<std::int64_t, Course> trials_;
  std::map<std::int64_t, PointState> points_;
  std::int64_t next_fresh_ = 0;  ///< trial
  std::set<std::tuple<std::int64_t, std::int64_t>>
      ready_;  ///< minus the updates done, trial: who goes on first is first
  std::set<std::int64_t> running_;
  std::map<std::int64_t, std::optional<double>> ended_points_;
  std::vector<Observation> seen_;  ///< of the points 0, 1, … as far as all of them have been measured
  std::int64_t failed_ = 0;
  double seconds_ = 0.0;
  double first_time_ = 0.0;
  double last_time_ = 0.0;
  std::string ending_;
  std::optional<Fault> ending_fault_;
};

}  // namespace dormer::sweep
