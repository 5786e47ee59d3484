#include "report/sweep_view.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include <fmt/format.h>

#include "dormer/report/wording.hpp"
#include "report/curves.hpp"

namespace dormer::report {
namespace {

constexpr double kQuartileDistances = 3.0;
constexpr std::size_t kEnoughForQuartiles = 8;
constexpr double kRoomAtEdge = 0.08;
constexpr double kCompleteDistances = 3.0;  // between the best and the worst complete trial, beyond that one

/// Without what no picture can show.
SweepRecord finite(SweepRecord sweep) {
  for (SweepTrial& trial : sweep.trials) {
    std::erase_if(trial.values, [](const SweepValue& one) { return !std::isfinite(one.value); });
  }
  for (SweepStanding& standing : sweep.standings) {
    if (standing.mean && !std::isfinite(*standing.mean)) {
      standing.mean.reset();
    }
    if (standing.half_width && (!standing.mean || !std::isfinite(*standing.half_width))) {
      standing.half_width.reset();
    }
  }
  for (SweepFront& front : sweep.fronts) {
    std::erase_if(front.offers,
                  [](const SweepFront::Offer& one) { return !std::isfinite(one.value) || !std::isfinite(one.cost); });
  }
  return sweep;
}

/// Trials by the place of their point, then by number; those of points without a place last.
std::vector<std::size_t> best_first(const SweepRecord& sweep) {
  std::map<std::int64_t, std::int64_t> places;
  for (const SweepStanding& standing : sweep.standings) {
    places[standing.point] = standing.place;
  }
  std::vector<std::size_t> trials(sweep.trials.size());
  std::iota(trials.begin(), trials.end(), 0U);
  const auto place = [&](std::size_t trial) {
    const auto found = places.find(sweep.trials[trial].point);
    return std::pair(found == places.end() ? std::numeric_limits<std::int64_t>::max() : found->second,
                     sweep.trials[trial].number);
  };
  std::ranges::sort(trials, {}, place);
  return trials;
}

std::vector<std::size_t> by_importance(const SweepRecord& sweep) {
  std::vector<std::size_t> parameters(sweep.parameters.size());
  std::iota(parameters.begin(), parameters.end(), 0U);
  std::ranges::stable_sort(parameters, std::greater(), [&](std::size_t index) {
    const auto found = std::ranges::find(sweep.importances, sweep.parameters[index].path, &SweepImportance::path);
    return found == sweep.importances.end() ? 0.0 : found->share;
  });
  return parameters;
}

Places places_of(const SweepRecord& sweep, std::size_t parameter) {
  Places places{.log = sweep.parameters[parameter].log, .names = {}};
  std::set<std::string> texts;
  bool numbers = true;
  for (const SweepTrial& trial : sweep.trials) {
    const std::optional<std::string>& text = trial.settings[parameter];
    if (text && texts.insert(*text).second) {
      const std::optional<double> number = number_of(*text);
      numbers = numbers && number && (!places.log || *number > 0.0);
    }
  }
  if (numbers && !sweep.parameters[parameter].choice) {
    return places;
  }
  places.log = false;
  places.names.assign(texts.begin(), texts.end());
  std::ranges::stable_sort(places.names, {}, [](const std::string& text) {  // numbers in their order, before texts
    return number_of(text).value_or(std::numeric_limits<double>::infinity());
  });
  return places;
}

/// The edge for values of which none worse than `worst` is to be shown: a little behind the last one that is, so that
/// pictures have no empty part. There is none where all are shown.
Edge edge_at(std::vector<double> values, double worst, bool maximize) {
  const std::size_t all = values.size();
  std::erase_if(values, [&](double value) { return maximize ? value < worst : value > worst; });
  if (values.size() == all || values.empty()) {
    return {.worst = {}, .maximize = maximize};
  }
  const auto [low, high] = std::ranges::minmax(values);
  const double room = kRoomAtEdge * (high - low);
  return {.worst = maximize ? low - room : high + room, .maximize = maximize};
}

}  // namespace

bool Edge::beyond(double value) const {
  return worst && (maximize ? value < *worst : value > *worst);
}

double Edge::inside(double value) const {
  return beyond(value) ? *worst : value;
}

Edge edge_of(std::vector<double> values, bool maximize) {
  if (values.size() < kEnoughForQuartiles) {
    return {.worst = {}, .maximize = maximize};
  }
  std::ranges::sort(values);
  const double lower = values[values.size() / 4];
  const double upper = values[values.size() * 3 / 4];
  const double distance = kQuartileDistances * (upper - lower);
  return distance > 0.0 ? edge_at(std::move(values), maximize ? lower - distance : upper + distance, maximize)
                        : Edge{.worst = {}, .maximize = maximize};
}

std::string edge_note(const Edge& edge, std::span<const double> values) {
  const auto count = std::ranges::count_if(values, [&](double value) { return edge.beyond(value); });
  return count == 0
             ? ""
             : fmt::format(" {} beyond {} {} drawn at the edge.", counted(static_cast<std::size_t>(count), "value"),
                           number_text(*edge.worst), count == 1 ? "is" : "are");
}

double Places::of(const std::string& text) const {
  if (!named()) {
    return number_of(text).value();
  }
  return static_cast<double>(std::ranges::find(names, text) - names.begin());
}

SweepView::SweepView(const SweepRecord& record)
    : sweep(finite(record)), metric(spaced(sweep.metric)), best(best_first(sweep)), ordered(by_importance(sweep)) {
  std::vector<std::string> paths;
  for (const SweepParameter& parameter : sweep.parameters) {
    paths.push_back(parameter.path);
  }
  names = short_names(paths);
  for (SweepTrial& trial : sweep.trials) {
    trial.settings.resize(sweep.parameters.size());
  }
  for (std::size_t i = 0; i < sweep.parameters.size(); ++i) {
    places.push_back(places_of(sweep, i));
  }
}

std::vector<std::size_t> SweepView::some(std::size_t most) const {
  std::vector<std::size_t> chosen(best.begin(), best.end());
  if (best.size() > most) {
    const std::size_t first = most / 2;
    chosen.resize(first);
    const std::size_t rest = best.size() - first;
    for (std::size_t i = 0; i < most - first; ++i) {
      chosen.push_back(best[first + i * rest / (most - first)]);
    }
  }
  std::ranges::sort(chosen, {}, [&](std::size_t trial) { return sweep.trials[trial].number; });
  return chosen;
}

std::string SweepView::some_note(std::size_t most) const {
  return best.size() <= most ? ""
                             : fmt::format(" {} of {} trials are drawn, the best ones among them.", most, best.size());
}

bool SweepView::better(double left, double right) const {
  return sweep.maximize ? left > right : left < right;
}

std::vector<double> SweepView::last_values() const {
  std::vector<double> values;
  for (const SweepTrial& trial : sweep.trials) {
    if (const std::optional<double> value = last_value(trial)) {
      values.push_back(*value);
    }
  }
  return values;
}

Edge SweepView::edge() const {
  std::vector<double> complete;
  for (const SweepTrial& trial : sweep.trials) {
    if (trial.outcome == Outcome::kComplete && last_value(trial)) {
      complete.push_back(*last_value(trial));
    }
  }
  const Edge all = edge_of(last_values(), sweep.maximize);
  if (complete.size() < kEnoughForQuartiles) {
    return all;
  }
  const Edge of_complete = edge_of(complete, sweep.maximize);
  for (double& value : complete) {
    value = of_complete.inside(value);
  }
  const auto [low, high] = std::ranges::minmax(complete);
  const double room = kCompleteDistances * (high - low);
  if (room <= 0.0) {
    return all;
  }
  return edge_at(last_values(), sweep.maximize ? low - room : high + room, sweep.maximize);
}

std::optional<double> last_value(const SweepTrial& trial) {
  return trial.values.empty() ? std::nullopt : std::optional(trial.values.back().value);
}

std::int64_t last_step(const SweepTrial& trial) {
  return trial.values.empty() ? 0 : trial.values.back().step;
}

std::string trial_label(const SweepTrial& trial) {
  const std::optional<double> value = last_value(trial);
  return fmt::format("trial {} (point {}){}", trial.number, trial.point,
                     value ? ": " + number_text(*value) : std::string());
}

std::string capitalized(std::string text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') {
    text[0] = static_cast<char>(text[0] - 'a' + 'A');
  }
  return text;
}

std::string counted(std::size_t count, const std::string& thing) {
  return fmt::format("{} {}{}", count, thing, count == 1 ? "" : "s");
}

}  // namespace dormer::report
