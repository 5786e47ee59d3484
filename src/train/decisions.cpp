#include "train/decisions.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "dormer/core/error.hpp"
#include "dormer/data/sample_order.hpp"

namespace dormer::train {
namespace {

// A save must be over before the limit: what an update takes, twice, and time for the save itself.
constexpr double kSecondsForSaving = 60.0;

std::optional<double> parse_number(const std::string& text) {
  double value = 0.0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc{} && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

}  // namespace

bool is_due(const config::Cadence& cadence, const Clock& now, const Clock& last, std::int64_t global_batch,
            std::int64_t samples) {
  switch (cadence.unit) {
    case config::Cadence::Unit::kNever:
      return false;
    case config::Cadence::Unit::kSteps:
      return now.step % std::max<std::int64_t>(std::llround(cadence.amount), 1) == 0;
    case config::Cadence::Unit::kEpochs: {
      const double period = cadence.amount * static_cast<double>(samples);
      return std::floor(static_cast<double>(now.position) / period) >
             std::floor(static_cast<double>(now.position - global_batch) / period);
    }
    case config::Cadence::Unit::kSeconds:
      return now.seconds - last.seconds >= cadence.amount;
  }
  return false;
}

NextActions decide(const RunConfig& config, const LoopFacts& facts) {
  NextActions actions;
  actions.finished = facts.now.step >= facts.total_steps;
  const double needed =
      2.0 * facts.seconds_per_update + std::min(kSecondsForSaving, facts.seconds_allowed.value_or(0.0) / 10.0);
  const bool out_of_time = facts.seconds_allowed && facts.now.seconds + needed > *facts.seconds_allowed;
  actions.stop = !actions.finished && (facts.stop_requested || out_of_time);
  const auto due = [&](const config::Cadence& cadence, const Clock& last) {
    return is_due(cadence, facts.now, last, facts.global_batch, facts.samples);
  };
  const bool validates = facts.has_validation && config.validation.every.unit != config::Cadence::Unit::kNever;
  // A stop saves first: validation takes time that the system may not give.
  actions.validate =
      validates && !actions.stop && (actions.finished || due(config.validation.every, facts.last_validation));
  actions.checkpoint = actions.finished || actions.stop || due(config.checkpoint.every, facts.last_checkpoint);
  for (std::size_t index = 0; index < config.exports.size() && !actions.stop; ++index) {
    if (actions.finished || due(config.exports[index].every, facts.last_exports.at(index))) {
      actions.exports.push_back(index);
    }
  }
  return actions;
}

std::int64_t total_steps(const RunSection& run, std::int64_t samples, std::int64_t global_batch) {
  if (run.steps) {
    return *run.steps;
  }
  require(run.epochs.has_value(), Fault::kUsage, "run.steps or run.epochs is needed");
  return data::updates_for_epochs(*run.epochs, samples, global_batch);
}

std::int64_t schedule_total(const ScheduleSection& schedule, std::int64_t total_steps,
                            std::optional<std::int64_t> stored) {
  return stored && schedule.extend == "keep" ? *stored : total_steps;
}

std::optional<double> seconds_allowed(const config::Duration& limit,
                                      const std::map<std::string, std::string>& environment, double unix_time) {
  if (!limit.automatic) {
    return limit.seconds;
  }
  const auto end = environment.find("SLURM_JOB_END_TIME");
  if (end == environment.end()) {
    return std::nullopt;
  }
  const std::optional<double> time = parse_number(end->second);
  return time ? std::optional(std::max(*time - unix_time, 0.0)) : std::nullopt;
}

bool record_validation(BestValidation& best, double loss, std::int64_t step) {
  if (!std::isfinite(loss) || (best.loss && !(loss < *best.loss))) {
    ++best.without_improvement;
    return false;
  }
  best = {.loss = loss, .step = step, .without_improvement = 0};
  return true;
}

std::vector<std::int64_t> superseded(std::vector<StoredCheckpoint> stored, const KeepSection& keep) {
  std::set<std::int64_t> kept;
  std::sort(stored.begin(), stored.end(), [](const auto& a, const auto& b) { return a.step > b.step; });
  const auto newest = static_cast<std::size_t>(std::max<std::int64_t>(keep.last, 1));
  for (std::size_t index = 0; index < std::min(newest, stored.size()); ++index) {
    kept.insert(stored[index].step);
  }
  std::vector<StoredCheckpoint> measured;
  std::copy_if(stored.begin(), stored.end(), std::back_inserter(measured),
               [](const auto& one) { return one.validation_loss.has_value(); });
  std::stable_sort(measured.begin(), measured.end(),
                   [](const auto& a, const auto& b) { return *a.validation_loss < *b.validation_loss; });
  for (std::size_t index = 0;
       index < std::min(static_cast<std::size_t>(std::max<std::int64_t>(keep.best, 0)), measured.size()); ++index) {
    kept.insert(measured[index].step);
  }
  std::vector<std::int64_t> result;
  for (const StoredCheckpoint& one : stored) {
    if (!kept.contains(one.step)) {
      result.push_back(one.step);
    }
  }
  return result;
}

}  // namespace dormer::train
