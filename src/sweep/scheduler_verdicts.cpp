// What of a sweep's scheduler has to do with rungs: who has come to one, and what becomes of who waits there.
#include <algorithm>
#include <cmath>

#include "dormer/sweep/scheduler.hpp"

namespace dormer::sweep {

std::optional<double> Scheduler::mean_at(std::int64_t point, std::int64_t step) const {
  double sum = 0.0;
  std::int64_t count = 0;
  for (const std::int64_t trial : points_.at(point).trials) {
    const Course& course = trials_.at(trial);
    if (course.record.state == TrialState::kFailed || course.record.measurements.empty()) {
      continue;
    }
    const auto at = std::ranges::find(course.record.measurements, step, &Measurement::step);
    const bool completed = course.record.state == TrialState::kComplete;
    if (at == course.record.measurements.end() && !completed) {
      continue;
    }
    const double value = at != course.record.measurements.end() ? at->value : course.record.measurements.back().value;
    if (std::isfinite(value)) {
      sum += plan_.maximize ? -value : value;
      ++count;
    }
  }
  return count > 0 ? std::optional(sum / static_cast<double>(count)) : std::nullopt;
}

void Scheduler::arrive_if_complete(std::int64_t point) {
  PointState& state = points_.at(point);
  if (state.rung >= rungs_.size() || state.waits || std::ssize(state.trials) < replicas(point)) {
    return;
  }
  const std::int64_t step = rung_steps_[state.rung];
  const bool complete = std::ranges::all_of(state.trials, [&](std::int64_t trial) {
    const Course& course = trials_.at(trial);
    return course.ended() || (course.record.state == TrialState::kWaiting && course.record.steps() >= step);
  });
  if (!complete) {
    return;
  }
  const bool all_over = std::ranges::all_of(state.trials, [&](std::int64_t trial) {
    const TrialState ended = trials_.at(trial).record.state;
    return ended == TrialState::kFailed || ended == TrialState::kStopped;
  });
  state.waits = true;
  RungState& rung = rungs_[state.rung];
  ++rung.arrived;
  const std::size_t index = state.rung;
  judge(index, rung.rung->arrive({point, all_over ? std::nullopt : mean_at(point, step)}));
  note_seen();
}

void Scheduler::judge(std::size_t rung, const std::vector<Judgement>& judgements) {
  for (const Judgement& judgement : judgements) {
    PointState& state = points_.at(judgement.point);
    state.waits = false;
    if (judgement.goes_on) {
      ++state.rung;
      if (state.rung < rungs_.size()) {
        ++rungs_[state.rung].expected;
      }
      for (const std::int64_t trial : state.trials) {
        const Course& course = trials_.at(trial);
        if (course.record.state == TrialState::kWaiting) {
          ready_.insert({-course.record.steps(), trial});
        }
      }
      arrive_if_complete(judgement.point);  // its trials may all have ended by themselves
    } else {
      state.rung = rungs_.size();
      const std::vector<std::int64_t> trials = state.trials;
      for (const std::int64_t trial : trials) {
        Course& course = trials_.at(trial);
        if (!course.ended()) {
          end(course, TrialState::kStopped, fmt::format("others were better after {} updates", rung_steps_[rung]));
        }
      }
    }
  }
}

// A rung is closed when all that can come to it have come: all points to the first, then those that went on.
void Scheduler::close_rungs() {
  for (std::size_t index = 0; index < rungs_.size(); ++index) {
    RungState& rung = rungs_[index];
    if (rung.arrived < rung.expected || points_planned_ == 0) {
      return;
    }
    if (!rung.closed) {
      rung.closed = true;
      judge(index, rung.rung->close());
    }
  }
}

void Scheduler::note_seen() {
  while (std::ssize(seen_) < points_planned_) {
    const auto number = std::ssize(seen_);
    const auto found = points_.find(number);
    const bool ended = ended_points_.contains(number);
    const bool came = found != points_.end() && !rungs_.empty() && (found->second.rung > 0 || found->second.waits);
    if (!ended && !came) {
      return;
    }
    // All of them after as many updates: those of the first rung where there is one.
    const std::int64_t step = rungs_.empty() ? plan_.total_steps : rung_steps_.front();
    seen_.push_back({number, found->second.settings, mean_at(number, step)});
  }
}

}  // namespace dormer::sweep
