#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <set>

#include <fmt/format.h>

#include "dormer/report/wording.hpp"
#include "report/curves.hpp"
#include "report/escape.hpp"
#include "report/sweep_parts.hpp"

namespace dormer::report {
namespace {

constexpr std::size_t kFirstRows = 20;
constexpr std::size_t kMostRows = 200;
constexpr std::size_t kMostFailures = 20;
constexpr std::size_t kMostNumbers = 6;  // of trials in a row
constexpr std::size_t kMostFolds = 300;
constexpr std::size_t kMostColumns = 12;  // of parameters
constexpr std::size_t kMostPictureBytes = 8'000'000;
constexpr std::array<std::string_view, 4> kPictureTypes{"image/png", "image/jpeg", "image/webp", "image/gif"};

std::size_t count_of(const SweepView& view, Outcome outcome) {
  return static_cast<std::size_t>(std::ranges::count(view.sweep.trials, outcome, &SweepTrial::outcome));
}

/// Numbers of one column, all with as many digits behind the point as the first one needs for five in all.
class Digits {
 public:
  explicit Digits(const SweepView& view) {
    const auto measured =
        std::ranges::find_if(view.sweep.standings, [](const auto& one) { return one.mean.has_value(); });
    const double first = measured == view.sweep.standings.end() ? 0.0 : std::abs(*measured->mean);
    if (first >= 1e-3 && first < 1e5) {
      behind_ = std::max(0, 4 - static_cast<int>(std::floor(std::log10(first))));
    }
  }
  [[nodiscard]] std::string text(double value) const {
    return behind_ ? fmt::format("{:.{}f}", value, *behind_) : number_text(value);
  }
  [[nodiscard]] std::string text(const SweepStanding& standing) const {
    if (!standing.mean) {
      return "none";
    }
    return text(*standing.mean) + (standing.half_width ? " ± " + text(*standing.half_width) : "");
  }

 private:
  std::optional<int> behind_;
};

/// The parameters that have a column: the most important ones, in their own order.
std::vector<std::size_t> columns_of(const SweepView& view) {
  const auto count = static_cast<std::ptrdiff_t>(std::min(view.ordered.size(), kMostColumns));
  std::vector<std::size_t> parameters(view.ordered.begin(), view.ordered.begin() + count);
  std::ranges::sort(parameters);
  return parameters;
}

/// The leaderboard's head, without rows.
Table leaderboard_head(const SweepView& view, const std::vector<std::size_t>& parameters) {
  Table table{.title = "Leaderboard",
              .head = {"place", view.metric, "point", "state"},
              .rows = {},
              .summary = fmt::format("Means over seeds ± 95% intervals by Student's t, {} first. Points that were "
                                     "stopped or failed stand below, by how far they came.",
                                     view.sweep.maximize ? "largest" : "smallest"),
              .close = true};
  for (const std::size_t parameter : parameters) {
    table.head.push_back(view.names[parameter]);
  }
  table.head.insert(table.head.end(), {"seeds", "updates", "time"});
  if (parameters.size() < view.names.size()) {
    table.summary += fmt::format(" The {} most important of {} parameters.", parameters.size(), view.names.size());
  }
  return table;
}

std::vector<std::string> leaderboard_row(const SweepStanding& one, const Digits& digits,
                                         const std::vector<std::size_t>& parameters) {
  std::vector<std::string> row{fmt::format("{}", one.place), digits.text(one), fmt::format("{}", one.point), one.state};
  for (const std::size_t parameter : parameters) {
    row.push_back(parameter < one.settings.size() ? one.settings[parameter].value_or("") : "");
  }
  row.insert(row.end(), {one.seeds, fmt::format("{}", one.step), duration_text(one.seconds)});
  return row;
}

}  // namespace

Tiles sweep_tiles(const SweepView& view) {
  Tiles tiles;
  if (!view.sweep.standings.empty() && view.sweep.standings.front().mean) {
    const SweepStanding& first = view.sweep.standings.front();
    tiles.push_back({"best " + view.metric, number_text(*first.mean),
                     fmt::format("point {}{}", first.point,
                                 first.half_width ? fmt::format(", ± {:.2g}", *first.half_width) : std::string())});
  }
  std::set<std::int64_t> points;
  double seconds = 0.0;
  for (const SweepTrial& trial : view.sweep.trials) {
    points.insert(trial.point);
    seconds += trial.seconds;
  }
  tiles.push_back({"trials", fmt::format("{}", view.sweep.trials.size()), "of " + counted(points.size(), "point")});
  tiles.push_back({"complete", fmt::format("{}", count_of(view, Outcome::kComplete)),
                   view.sweep.total_steps > 0
                       ? counted(static_cast<std::size_t>(view.sweep.total_steps), "update") + " each"
                       : ""});
  tiles.push_back({"stopped", fmt::format("{}", count_of(view, Outcome::kStopped)), "others were better"});
  tiles.push_back({"failed", fmt::format("{}", count_of(view, Outcome::kFailed)), ""});
  if (const std::size_t going_on = count_of(view, Outcome::kGoingOn); going_on > 0) {
    tiles.push_back({"going on", fmt::format("{}", going_on), "or waiting"});
  }
  tiles.push_back({"training time", duration_text(seconds), "all trials together"});
  return tiles;
}

std::vector<Table> leaderboard_tables(const SweepView& view) {
  const std::vector<std::size_t> parameters = columns_of(view);
  const Table head = leaderboard_head(view, parameters);
  const Digits digits(view);
  std::vector<Table> tables{head};
  for (std::size_t i = 0; i < std::min(view.sweep.standings.size(), kMostRows); ++i) {
    if (i == kFirstRows) {
      tables.push_back(head);
      tables.back().title = "The other points";
      tables.back().folded = true;
      tables.back().summary.clear();
    }
    const SweepStanding& one = view.sweep.standings[i];
    tables.back().rows.push_back(leaderboard_row(one, digits, parameters));
    const bool quiet = one.outcome == Outcome::kStopped || one.outcome == Outcome::kFailed;
    tables.back().intervals.push_back(one.mean ? std::optional(Interval{*one.mean, one.half_width.value_or(0.0), quiet})
                                               : std::nullopt);
  }
  if (view.sweep.standings.size() > kMostRows) {
    tables.back().summary = fmt::format("Up to place {} of {}.", kMostRows, view.sweep.standings.size());
  }
  return tables;
}

Table failures_table(const SweepView& view) {
  Table table{.title = "Failures", .head = {"trials", "which", "reason"}, .rows = {}, .close = true};
  std::map<std::string, std::vector<std::int64_t>> reasons;
  for (const SweepTrial& trial : view.sweep.trials) {
    if (trial.outcome == Outcome::kFailed) {
      reasons[trial.reason].push_back(trial.number);
    }
  }
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> groups(reasons.begin(), reasons.end());
  std::ranges::stable_sort(groups, std::greater(), [](const auto& group) { return group.second.size(); });
  for (std::size_t i = 0; i < std::min(groups.size(), kMostFailures); ++i) {
    const auto& [reason, trials] = groups[i];
    std::string which;
    for (std::size_t j = 0; j < std::min(trials.size(), kMostNumbers); ++j) {
      which += fmt::format("{}{}", j == 0 ? "" : ", ", trials[j]);
    }
    which += trials.size() > kMostNumbers ? ", …" : "";
    table.rows.push_back({fmt::format("{}", trials.size()), which, reason.empty() ? "none known" : reason});
  }
  if (groups.size() > kMostFailures) {
    table.summary = fmt::format("The {} most frequent of {} reasons.", kMostFailures, groups.size());
  }
  return table;
}

Folds trial_folds(const SweepView& view) {
  Folds folds{.id = "trials",
              .title = "Every trial",
              .summary = "What each was set to besides what all have in common, and the command that repeats it.",
              .folds = {}};
  if (view.best.size() > kMostFolds) {
    folds.summary += fmt::format(" {} of {} trials, the best ones among them; `dormer sweep export` writes all.",
                                 kMostFolds, view.best.size());
  }
  for (const std::size_t index : view.some(kMostFolds)) {
    const SweepTrial& trial = view.sweep.trials[index];
    Fold fold{.title = fmt::format("{}, {}", capitalized(trial_label(trial)), trial.state),
              .rows = {},
              .command = trial.command};
    if (last_step(trial) > 0) {
      fold.title += fmt::format(" after {}", counted(static_cast<std::size_t>(last_step(trial)), "update"));
    }
    for (std::size_t i = 0; i < trial.settings.size(); ++i) {
      if (trial.settings[i]) {
        fold.rows.emplace_back(view.sweep.parameters[i].path, *trial.settings[i]);
      }
    }
    fold.rows.emplace_back("seed's number", fmt::format("{}", trial.replica));
    fold.rows.emplace_back("training time", duration_text(trial.seconds));
    if (!trial.worker.empty()) {
      fold.rows.emplace_back("worker", trial.worker);
    }
    if (!trial.reason.empty()) {
      fold.rows.emplace_back("reason", trial.reason);
    }
    folds.folds.push_back(std::move(fold));
  }
  return folds;
}

Gallery sample_gallery(const SweepView& view) {
  Gallery gallery{.id = "samples", .title = "Samples", .summary = {}, .pictures = {}};
  std::size_t all = 0;
  std::size_t bytes = 0;
  for (const std::size_t index : view.best) {
    const SweepTrial& trial = view.sweep.trials[index];
    for (const SampleImage& image : trial.images) {
      ++all;
      const bool fits = gallery.pictures.size() < kMostPictures && bytes + image.bytes.size() <= kMostPictureBytes;
      if (fits && std::ranges::find(kPictureTypes, image.type) != kPictureTypes.end()) {
        bytes += image.bytes.size();
        gallery.pictures.emplace_back(fmt::format("{}: {}", capitalized(trial_label(trial)), image.caption),
                                      data_uri(image.type, image.bytes));
      }
    }
  }
  gallery.summary = gallery.pictures.size() == all ? "What the trials made, the best ones first."
                                                   : fmt::format("{} of {} pictures, those of the best trials first.",
                                                                 gallery.pictures.size(), all);
  return gallery;
}

}  // namespace dormer::report
