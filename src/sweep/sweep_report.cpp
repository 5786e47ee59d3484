#include "dormer/sweep/sweep_report.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include <fmt/format.h>

#include "dormer/sweep/leaderboard.hpp"
#include "dormer/sweep/pareto.hpp"
#include "dormer/sweep/rung_counts.hpp"

namespace dormer::sweep {
namespace {

using TrialsOfPoints = std::map<std::int64_t, std::vector<const TrialRecord*>>;
using FactsOfTrials = std::map<std::int64_t, const TrialFacts*>;

report::Outcome outcome_of(TrialState state) {
  switch (state) {
    case TrialState::kComplete:
      return report::Outcome::kComplete;
    case TrialState::kStopped:
      return report::Outcome::kStopped;
    case TrialState::kFailed:
      return report::Outcome::kFailed;
    default:
      return report::Outcome::kGoingOn;
  }
}

std::vector<std::optional<std::string>> settings_of(const Point& point, std::span<const ParameterFacts> parameters) {
  std::vector<std::optional<std::string>> settings;
  for (const ParameterFacts& parameter : parameters) {
    const std::string* text = setting_of(point, parameter.path);
    settings.push_back(text == nullptr ? std::nullopt : std::optional(*text));
  }
  return settings;
}

report::SweepTrial trial_of(const TrialRecord& trial, const TrialFacts* facts, const ReportFacts& sweep) {
  report::SweepTrial result{.number = trial.number,
                            .point = trial.point,
                            .replica = trial.replica,
                            .outcome = outcome_of(trial.state),
                            .state = std::string(name_of(trial.state)),
                            .reason = trial.reason,
                            .worker = trial.worker,
                            .settings = settings_of(trial.settings, sweep.parameters),
                            .values = {},
                            .seconds = trial.seconds(),
                            .command = {},
                            .images = {}};
  for (const Measurement& one : trial.measurements) {
    result.values.push_back({one.step, one.value});
  }
  if (facts != nullptr) {
    result.command = facts->command;
    result.images = facts->images;
  }
  return result;
}

report::SweepStanding row_of(const Standing& standing, const ReportFacts& sweep) {
  return {.place = standing.place,
          .point = standing.point,
          .outcome = outcome_of(standing.state),
          .state = std::string(name_of(standing.state)),
          .mean = standing.mean,
          .half_width = standing.half_width,
          .seeds = fmt::format("{} of {}", standing.measured, standing.replicas),
          .step = standing.step,
          .seconds = standing.seconds,
          .settings = settings_of(standing.settings, sweep.parameters)};
}

/// The mean over a point's trials of what `cost` says of them; nothing where it says nothing of any.
std::optional<double> mean_cost(const std::vector<const TrialRecord*>& trials,
                                const std::function<std::optional<double>(const TrialRecord&)>& cost) {
  double sum = 0.0;
  double count = 0.0;
  for (const TrialRecord* trial : trials) {
    if (const std::optional<double> one = cost(*trial)) {
      sum += *one;
      count += 1.0;
    }
  }
  return count > 0.0 ? std::optional(sum / count) : std::nullopt;
}

/// The front of one cost; without offers where it is unknown of all points.
report::SweepFront front_of(const std::string& name, std::span<const Standing> standings, const ReportFacts& sweep,
                            const std::function<std::optional<double>(const Standing&)>& cost) {
  std::vector<Offer> offers;
  for (const Standing& standing : standings) {
    const std::optional<double> one = standing.mean ? cost(standing) : std::nullopt;
    if (one && std::isfinite(*one)) {
      offers.push_back({standing.point, *standing.mean, *one});
    }
  }
  const std::vector<Offer> front = pareto_front(offers, sweep.goal);
  std::ranges::stable_sort(offers, {}, &Offer::cost);
  report::SweepFront result{.cost = name, .offers = {}};
  for (const Offer& offer : front) {  // in its own order, which a line through it follows
    result.offers.push_back({offer.point, offer.value, offer.cost, true});
  }
  for (const Offer& offer : offers) {
    if (std::ranges::find(front, offer.point, &Offer::point) == front.end()) {
      result.offers.push_back({offer.point, offer.value, offer.cost, false});
    }
  }
  return result;
}

std::vector<report::SweepFront> fronts_of(std::span<const Standing> standings, const TrialsOfPoints& points,
                                          const FactsOfTrials& known, const ReportFacts& sweep) {
  const auto seconds = [&](const Standing& standing) {
    return mean_cost(points.at(standing.point), [&](const TrialRecord& trial) -> std::optional<double> {
      const auto after = std::ranges::upper_bound(trial.measurements, standing.step, {}, &Measurement::step);
      const bool counts = !standing.by_value || trial.state == TrialState::kComplete;
      return counts && after != trial.measurements.begin() ? std::optional(std::prev(after)->seconds) : std::nullopt;
    });
  };
  const auto parameters = [&](const Standing& standing) {
    return mean_cost(points.at(standing.point), [&](const TrialRecord& trial) -> std::optional<double> {
      const auto found = known.find(trial.number);
      return found != known.end() && found->second->parameters
                 ? std::optional(static_cast<double>(*found->second->parameters) / 1e6)
                 : std::nullopt;
    });
  };
  std::vector<report::SweepFront> fronts{front_of("training seconds", standings, sweep, seconds),
                                         front_of("million trained parameters", standings, sweep, parameters)};
  std::erase_if(fronts, [](const report::SweepFront& front) { return front.offers.empty(); });
  return fronts;
}

}  // namespace

report::SweepRecord sweep_record(std::span<const TrialRecord> trials, std::span<const TrialFacts> trial_facts,
                                 const ReportFacts& facts) {
  report::SweepRecord sweep;
  sweep.name = facts.name;
  sweep.state = facts.state;
  sweep.metric = facts.metric;
  sweep.maximize = facts.goal == Goal::kMaximize;
  sweep.total_steps = facts.total_steps;
  sweep.facts = facts.facts;
  sweep.config = facts.config;
  sweep.timeline = facts.timeline;
  for (const ParameterFacts& parameter : facts.parameters) {
    sweep.parameters.push_back(
        {parameter.path, parameter.kind == ParameterKind::kLog, parameter.kind == ParameterKind::kChoice});
  }
  FactsOfTrials known;
  for (const TrialFacts& one : trial_facts) {
    known[one.number] = &one;
  }
  TrialsOfPoints points;
  for (const TrialRecord& trial : trials) {
    points[trial.point].push_back(&trial);
    const auto found = known.find(trial.number);
    sweep.trials.push_back(trial_of(trial, found == known.end() ? nullptr : found->second, facts));
  }
  std::ranges::sort(sweep.trials, {}, &report::SweepTrial::number);
  const std::vector<Standing> standings = leaderboard(trials, facts.goal, facts.rungs);
  for (const Standing& standing : standings) {
    sweep.standings.push_back(row_of(standing, facts));
  }
  for (const Importance& one : importances(standings, facts.parameters)) {
    sweep.importances.push_back({one.path, one.share, one.points});
  }
  for (const RungCount& rung : rung_counts(trials, facts.rungs)) {
    sweep.rungs.push_back({rung.step, rung.passed, rung.stopped, rung.failed, rung.going_on});
  }
  sweep.fronts = fronts_of(standings, points, known, facts);
  return sweep;
}

}  // namespace dormer::sweep
