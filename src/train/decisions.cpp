#include "train/decisions.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <tuple>

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
  const bool arrived = !actions.finished && facts.until && facts.now.step >= *facts.until;
  actions.pause = arrived && !actions.stop;
  const bool validates = facts.has_validation && config.validation.every.unit != config::Cadence::Unit::kNever;
  const bool validation_due =
      (validates && (actions.finished || due(config.validation.every, facts.last_validation))) ||
      (arrived && facts.has_validation);
  actions.pause = actions.pause || (!actions.finished && !actions.stop && facts.dropped);
  // A stop saves first: validation takes time that the system may not give.
  actions.validate = validation_due && !actions.stop;
  actions.validation_pending = validation_due && actions.stop;
  actions.sample = config.samples.wanted() && !actions.stop && !actions.pause &&
                   (actions.finished || due(config.samples.every, facts.last_samples));
  actions.checkpoint =
      actions.finished || actions.stop || actions.pause || due(config.checkpoint.every, facts.last_checkpoint);
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

std::int64_t schedule_total(const ScheduleSection& schedule, std::int64_t total,
                            const std::optional<RunLength>& stored) {
  return stored && (stored->total == total || schedule.extend == "keep") ? stored->schedule_total : total;
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

std::optional<Straggler> find_straggler(const std::vector<double>& paces, double micro_batches) {
  if (paces.size() < 2) {
    return std::nullopt;
  }
  std::vector<double> sorted = paces;
  std::ranges::sort(sorted);
  const double usual = sorted[(sorted.size() - 1) / 2];
  const auto slowest = std::ranges::max_element(paces);
  constexpr double kRatio = 1.5;
  constexpr double kSeconds = 1.0;
  if (!(*slowest >= kRatio * usual) || !((*slowest - usual) * micro_batches >= kSeconds)) {
    return std::nullopt;
  }
  return Straggler{.rank = static_cast<int>(slowest - paces.begin()), .ratio = *slowest / std::max(usual, 1e-9)};
}

std::vector<std::int64_t> best_steps(std::vector<StoredCheckpoint> stored, std::int64_t count) {
  std::erase_if(stored, [](const StoredCheckpoint& one) { return !one.validation_loss; });
  std::sort(stored.begin(), stored.end(), [](const StoredCheckpoint& a, const StoredCheckpoint& b) {
    return std::tie(*a.validation_loss, a.step) < std::tie(*b.validation_loss, b.step);
  });
  stored.resize(std::min(stored.size(), static_cast<std::size_t>(std::max<std::int64_t>(count, 0))));
  std::vector<std::int64_t> steps;
  for (const StoredCheckpoint& one : stored) {
    steps.push_back(one.step);
  }
  return steps;
}

}  // namespace dormer::train
