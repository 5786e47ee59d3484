#include "dormer/sweep/scheduler.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "dormer/core/error.hpp"

namespace dormer::sweep {

bool Scheduler::Course::ended() const {
  return record.state == TrialState::kComplete || record.state == TrialState::kStopped ||
         record.state == TrialState::kFailed;
}

Scheduler::Scheduler(const SchedulerPlan& plan, const Sampler& sampler, const StoppingRule& rule)
    : plan_(plan), sampler_(sampler), rung_steps_(rule.rungs(plan.total_steps)) {
  for (std::size_t i = 0; i < rung_steps_.size(); ++i) {
    rungs_.push_back({.rung = rule.rung()});
  }
}

void Scheduler::apply(const Event& event) {
  first_time_ = first_time_ == 0.0 ? event.time : first_time_;
  last_time_ = std::max(last_time_, event.time);
  switch (event.kind) {
    case EventKind::kBegun:
      points_planned_ = std::max(points_planned_, event.step);
      if (!rungs_.empty()) {
        rungs_.front().expected = points_planned_;
      }
      break;
    case EventKind::kStarted:
      begin(event);
      break;
    case EventKind::kMeasured:
      measure(event);
      break;
    case EventKind::kReleased:
      if (Course* course = current(event)) {
        take_measurements(*course, event.measurements);
        release(*course);
      }
      break;
    case EventKind::kFailed:
      if (Course* course = current(event)) {
        take_measurements(*course, event.measurements);
        end(*course, TrialState::kFailed, event.text);
        check_ending(event.fault);
      }
      break;
    case EventKind::kLost:
      lose(event);
      break;
    case EventKind::kStopped:
      stop(event);
      break;
    case EventKind::kAdded:
      add(event);
      break;
    case EventKind::kInputs:  // nothing to decide
      break;
  }
  if (plan_.budget_seconds && seconds_ >= *plan_.budget_seconds && ending_.empty()) {
    ending_ = fmt::format("its budget is spent: {:.0f} seconds of training of {:.0f}", seconds_, *plan_.budget_seconds);
  }
}

Scheduler::Course* Scheduler::current(const Event& event) {
  const auto found = trials_.find(event.trial);
  const bool counts = found != trials_.end() && found->second.attempt == event.attempt &&
                      running_.contains(event.trial) && !found->second.ended();
  return counts ? &found->second : nullptr;
}

std::int64_t Scheduler::replicas(std::int64_t point) const {
  return point < points_planned_ ? plan_.seeds : std::ssize(points_.at(point).trials);
}

void Scheduler::begin(const Event& event) {
  const auto [found, inserted] = trials_.try_emplace(event.trial);
  Course& course = found->second;
  if (inserted) {
    const std::int64_t point = event.trial / plan_.seeds;
    PointState& state = points_[point];
    if (event.settings) {
      state.settings = *event.settings;
    }
    state.trials.push_back(event.trial);
    course.record.number = event.trial;
    course.record.point = point;
    course.record.replica = event.trial % plan_.seeds;
    course.record.settings = state.settings;
    next_fresh_ = std::max(next_fresh_, event.trial + 1);
  }
  if (course.ended()) {
    return;
  }
  ready_.erase({-course.record.steps(), event.trial});
  running_.insert(event.trial);
  course.attempt = event.attempt;
  course.record.state = TrialState::kRunning;
  course.record.worker = event.worker;
}

void Scheduler::add(const Event& event) {
  Course& course = trials_[event.trial];
  course.record.number = event.trial;
  course.record.point = event.trial / plan_.seeds;
  course.record.settings = event.settings.value_or(Point{});
  PointState& state = points_[course.record.point];
  state.settings = course.record.settings;
  state.trials = {event.trial};
  state.rung = rungs_.size();
  ready_.insert({0, event.trial});
}

void Scheduler::take_measurements(Course& course, const std::vector<Measurement>& measurements) {
  for (const Measurement& measurement : measurements) {
    if (measurement.step > course.record.steps()) {
      seconds_ += std::max(measurement.seconds - course.record.seconds(), 0.0);
      course.record.measurements.push_back(measurement);
    }
  }
}

void Scheduler::measure(const Event& event) {
  Course* course = current(event);
  if (course == nullptr) {
    return;
  }
  take_measurements(*course, event.measurements);
  if (event.parameters > 0) {
    course->record.parameters = event.parameters;
  }
  const std::int64_t point = course->record.point;
  if (event.finished || course->record.steps() >= plan_.total_steps) {
    end(*course, TrialState::kComplete, {});
  } else if (course->asked_to_stop) {
    end(*course, TrialState::kStopped, "somebody stopped it");
  } else {
    running_.erase(course->record.number);
    course->record.state = TrialState::kWaiting;
    const PointState& state = points_.at(point);
    if (state.rung == rungs_.size() || course->record.steps() < rung_steps_[state.rung]) {
      ready_.insert({-course->record.steps(), course->record.number});
    }
    arrive_if_complete(point);
  }
  close_rungs();
}

void Scheduler::release(Course& course) {
  running_.erase(course.record.number);
  if (course.asked_to_stop) {
    end(course, TrialState::kStopped, "somebody stopped it");
    return;
  }
  course.record.state = TrialState::kWaiting;
  ready_.insert({-course.record.steps(), course.record.number});
}

void Scheduler::end(Course& course, TrialState state, const std::string& reason) {
  const std::int64_t number = course.record.number;
  running_.erase(number);
  ready_.erase({-course.record.steps(), number});
  course.record.state = state;
  course.record.reason = reason;
  failed_ += state == TrialState::kFailed ? 1 : 0;
  const std::int64_t point = course.record.point;
  const PointState& all = points_.at(point);
  const bool ended = std::ssize(all.trials) == replicas(point) &&
                     std::ranges::all_of(all.trials, [&](std::int64_t trial) { return trials_.at(trial).ended(); });
  if (ended) {
    std::optional<double> mean;
    if (std::ranges::any_of(
            all.trials, [&](std::int64_t trial) { return trials_.at(trial).record.state == TrialState::kComplete; })) {
      mean = mean_at(point, plan_.total_steps);
    }
    ended_points_[point] = mean;
  }
  arrive_if_complete(point);
  note_seen();
  close_rungs();
}

void Scheduler::lose(const Event& event) {
  std::vector<std::int64_t> lost;
  std::ranges::copy_if(running_, std::back_inserter(lost),
                       [&](std::int64_t trial) { return trials_.at(trial).record.worker == event.worker; });
  for (const std::int64_t trial : lost) {
    Course& course = trials_.at(trial);
    ++course.attempt;  // what it may still say counts no more
    const auto saved = std::ranges::find(event.saved, trial, &std::pair<std::int64_t, std::int64_t>::first);
    const std::int64_t now = std::max(course.record.steps(), saved == event.saved.end() ? 0 : saved->second);
    course.lives = now > course.saved ? 1 : course.lives + 1;
    course.saved = now;
    if (course.lives >= plan_.max_lives) {
      end(course, TrialState::kFailed,
          fmt::format("{} workers died while they trained it (out of memory, perhaps); the last was {}", course.lives,
                      event.worker));
      check_ending(Fault::kBug);
    } else {
      release(course);
    }
  }
}

void Scheduler::stop(const Event& event) {
  const auto found = trials_.find(event.trial);
  if (found == trials_.end() || found->second.ended()) {
    return;
  }
  if (running_.contains(event.trial)) {
    found->second.asked_to_stop = true;
  } else {
    end(found->second, TrialState::kStopped, "somebody stopped it");
  }
}

std::int64_t Scheduler::until(const Course& course) const {
  const PointState& state = points_.at(course.record.point);
  return state.rung < rungs_.size() ? rung_steps_[state.rung] : plan_.total_steps;
}

Assignment Scheduler::assignment_of(const Course& course) const {
  return {.trial = course.record.number,
          .point = course.record.point,
          .replica = course.record.replica,
          .attempt = course.attempt + 1,
          .until = until(course),
          .settings = course.record.settings,
          .fresh = false};
}

std::optional<Assignment> Scheduler::fresh(std::int64_t trial) const {
  const std::int64_t point = trial / plan_.seeds;
  if (point >= points_planned_) {
    return std::nullopt;
  }
  Assignment assignment{.trial = trial,
                        .point = point,
                        .replica = trial % plan_.seeds,
                        .until = rungs_.empty() ? plan_.total_steps : rung_steps_.front(),
                        .settings = {},
                        .fresh = true};
  if (const auto known = points_.find(point); known != points_.end()) {
    assignment.settings = known->second.settings;
    return assignment;
  }
  std::span<const Observation> seen;
  if (sampler_.learns()) {
    const auto needed = static_cast<std::size_t>(std::max<std::int64_t>(point - plan_.lag, 0));
    if (seen_.size() < needed) {
      return std::nullopt;  // its proposal depends on who is not done yet
    }
    seen = std::span(seen_).first(needed);
  }
  assignment.settings = sampler_.propose(point, seen);
  return assignment;
}

std::vector<Assignment> Scheduler::next(std::size_t most) const {
  std::vector<Assignment> assignments;
  if (!ending_.empty()) {
    return assignments;
  }
  for (const auto& [updates, trial] : ready_) {
    if (assignments.size() >= most) {
      return assignments;
    }
    const Assignment assignment = assignment_of(trials_.at(trial));
    if (assignments.empty() || assignment.until == assignments.front().until) {
      assignments.push_back(assignment);
    }
  }
  for (std::int64_t trial = next_fresh_; assignments.size() < most; ++trial) {
    const std::optional<Assignment> assignment = fresh(trial);
    if (!assignment || (!assignments.empty() && assignment->until != assignments.front().until)) {
      break;
    }
    assignments.push_back(*assignment);
  }
  return assignments;
}

bool Scheduler::finished() const {
  if (!running_.empty()) {
    return false;
  }
  return !ending_.empty() || (ready_.empty() && next_fresh_ >= points_planned_ * plan_.seeds);
}

void Scheduler::check_ending(Fault last) {
  if (plan_.max_failed && failed_ > *plan_.max_failed && ending_.empty()) {
    ending_ = fmt::format("{} trials failed, and sweep.max_failed is {}", failed_, *plan_.max_failed);
    ending_fault_ = last;
  }
}

std::vector<TrialRecord> Scheduler::trials() const {
  std::vector<TrialRecord> records;
  records.reserve(trials_.size());
  for (const auto& [number, course] : trials_) {
    records.push_back(course.record);
  }
  return records;
}

const TrialRecord* Scheduler::find(std::int64_t trial) const {
  const auto found = trials_.find(trial);
  return found == trials_.end() ? nullptr : &found->second.record;
}

bool Scheduler::can_grow() const {
  return std::ranges::none_of(rungs_, &RungState::closed) &&
         (points_.empty() || points_.rbegin()->first < points_planned_);
}

std::int64_t Scheduler::next_added() const {
  const std::int64_t last = points_.empty() ? -1 : points_.rbegin()->first;
  return std::max(points_planned_, last + 1) * plan_.seeds;
}

std::map<std::string, std::vector<std::int64_t>> Scheduler::busy_workers() const {
  std::map<std::string, std::vector<std::int64_t>> workers;
  for (const std::int64_t trial : running_) {
    workers[trials_.at(trial).record.worker].push_back(trial);
  }
  return workers;
}

bool Scheduler::asked_to_stop(std::int64_t trial) const {
  const auto found = trials_.find(trial);
  return found != trials_.end() && found->second.asked_to_stop;
}

std::int64_t Scheduler::attempt_of(std::int64_t trial) const {
  const auto found = trials_.find(trial);
  return found == trials_.end() ? 0 : found->second.attempt;
}

std::vector<std::int64_t> Scheduler::trials_of(std::int64_t point) const {
  const auto found = points_.find(point);
  return found == points_.end() ? std::vector<std::int64_t>{} : found->second.trials;
}

}  // namespace dormer::sweep
