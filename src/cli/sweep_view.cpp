#include "cli/sweep_view.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "dormer/config/write.hpp"
#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/report/report.hpp"
#include "dormer/report/sweep_page.hpp"
#include "dormer/sweep/journal.hpp"
#include "dormer/sweep/leaderboard.hpp"
#include "dormer/sweep/sweep_report.hpp"
#include "dormer/sweep/sweep_status.hpp"

namespace dormer::cli {
namespace {

std::vector<sweep::ParameterFacts> parameters_of(const sweep::Space& space) {
  std::vector<sweep::ParameterFacts> facts;
  for (const sweep::Parameter& parameter : space.parameters()) {
    const auto kind = parameter.kind == sweep::Parameter::Kind::kOptions ? sweep::ParameterKind::kChoice
                      : parameter.logarithmic                            ? sweep::ParameterKind::kLog
                                                                         : sweep::ParameterKind::kNumeric;
    for (const std::string& path : parameter.paths()) {
      facts.push_back({path, kind});
    }
  }
  return facts;
}

sweep::ReportFacts report_facts(const SweepView& view, const sweep::SweepConfig& config) {
  const sweep::Scheduler& scheduler = view.scheduler();
  const std::string state = !scheduler.ending().empty() ? "ended: " + scheduler.ending()
                            : scheduler.finished()      ? "finished"
                                                        : "running, or ended before its end";
  sweep::ReportFacts facts{.name = config.run.name(),
                           .state = state,
                           .metric = config.sweep.metric,
                           .goal = goal_of(config),
                           .total_steps = config.run.run.steps.value_or(0),
                           .rungs = scheduler.rungs(),
                           .parameters = parameters_of(config.space),
                           .facts = {},
                           .config = {},
                           .timeline = {}};
  for (const sweep::Stay& stay : view.timeline().stays()) {
    facts.timeline.push_back({stay.worker, stay.trial, stay.begin, stay.end});
  }
  for (const auto& [key, value] : config::flatten(config.sweep)) {
    facts.facts.emplace_back("sweep." + key, value);
  }
  for (const std::string& line : config.space.description()) {
    facts.facts.emplace_back("space", line);
  }
  for (const auto& [key, value] : config::flatten(config.run)) {
    facts.config.emplace_back(key, value);
  }
  return facts;
}

/// What a person types to train this trial alone.
std::string command_of(const sweep::TrialRecord& trial, const sweep::SweepConfig& config) {
  std::string command = "dormer train run.yaml";
  for (const sweep::Setting& setting : trial.settings) {
    command += fmt::format(" --set '{}={}'", setting.path, setting.text);
  }
  return command + fmt::format(" --set run.seed={}", config.run.run.seed + trial.replica);
}

/// The trial's last pictures, each with its prompt.
std::vector<report::SampleImage> pictures_of(const sweep::TrialRecord& trial, const sweep::SweepConfig& config,
                                             const sweep::SweepPaths& paths) {
  std::vector<report::SampleImage> images;
  std::error_code code;
  for (std::size_t prompt = 0; prompt < config.run.samples.prompts.size(); ++prompt) {
    const std::filesystem::path file = paths.sample(trial.number, fmt::format("{:04}", prompt));
    if (std::filesystem::exists(file, code)) {
      images.push_back({config.run.samples.prompts[prompt], "image/png", read_file(file, "picture")});
    }
  }
  return images;
}

/// The numbers of the trials whose pictures a page may have room for: the best ones.
std::set<std::int64_t> shown_trials(std::span<const sweep::TrialRecord> trials, const sweep::SweepConfig& config) {
  std::vector<std::pair<double, std::int64_t>> complete;
  for (const sweep::TrialRecord& trial : trials) {
    if (trial.state == sweep::TrialState::kComplete && trial.value()) {
      complete.emplace_back(goal_of(config) == sweep::Goal::kMaximize ? -*trial.value() : *trial.value(), trial.number);
    }
  }
  std::ranges::sort(complete);
  complete.resize(std::min(complete.size(), report::kMostPictures));
  std::set<std::int64_t> shown;
  for (const auto& [value, number] : complete) {
    shown.insert(number);
  }
  return shown;
}

}  // namespace

SweepView::SweepView(const sweep::SweepConfig& config) : paths_{config.run.run.directory}, state_(config) {
  std::error_code code;
  require(std::filesystem::exists(paths_.journal(), code), Fault::kUsage,
          "there is no sweep in {} yet; dormer sweep run begins it", paths_.root.string());
  sweep::Journal journal(paths_.journal(), sweep::chosen_lock());
  bool first = true;
  journal.read([&](const sweep::Event& event) {
    require(!first || event.text == sweep::identity(config), Fault::kUsage,
            "{} holds another sweep than this file; its own is {}", paths_.root.string(), paths_.config().string());
    first = false;
    state_.scheduler().apply(event);
    timeline_.apply(event);
  });
}

sweep::Goal goal_of(const sweep::SweepConfig& config) {
  return config.sweep.goal == "maximize" ? sweep::Goal::kMaximize : sweep::Goal::kMinimize;
}

std::string progress_text(const sweep::Scheduler& scheduler, const sweep::SweepConfig& config) {
  std::map<sweep::TrialState, std::int64_t> counts;
  const sweep::TrialRecord* best = nullptr;
  const std::vector<sweep::TrialRecord> trials = scheduler.trials();
  for (const sweep::TrialRecord& trial : trials) {
    ++counts[trial.state];
    if (trial.state == sweep::TrialState::kComplete && trial.value() &&
        (best == nullptr || sweep::better(*trial.value(), *best->value(), goal_of(config)))) {
      best = &trial;
    }
  }
  const std::int64_t planned = scheduler.points() * scheduler.plan().seeds;
  counts[sweep::TrialState::kWaiting] += std::max<std::int64_t>(planned - std::ssize(trials), 0);
  std::string text = fmt::format("{} trials:", std::max<std::int64_t>(planned, std::ssize(trials)));
  for (const auto& [state, count] : counts) {
    if (count > 0) {
      text += fmt::format(" {} {},", count, name_of(state));
    }
  }
  text.pop_back();
  if (best != nullptr) {
    text += fmt::format("; best {:.6g} (trial {})", *best->value(), best->number);
  }
  return text;
}

std::string status_of(const sweep::Scheduler& scheduler, const sweep::SweepConfig& config, std::size_t best) {
  sweep::StatusFacts facts{.name = config.run.name(),
                           .metric = config.sweep.metric,
                           .goal = goal_of(config),
                           .planned = scheduler.points() * scheduler.plan().seeds,
                           .rungs = scheduler.rungs(),
                           .workers = {},
                           .elapsed_seconds = scheduler.elapsed(),
                           .best = best};
  for (const auto& [worker, trials] : scheduler.busy_workers()) {
    facts.workers.push_back({.name = worker, .trial = trials.front()});
  }
  return sweep::status_text(scheduler.trials(), facts);
}

std::string write_sweep_report(const SweepView& view, const sweep::SweepConfig& config) {
  const sweep::SweepPaths& paths = view.paths();
  try {
    const std::vector<sweep::TrialRecord> trials = view.scheduler().trials();
    const std::set<std::int64_t> shown = shown_trials(trials, config);
    std::vector<sweep::TrialFacts> facts;
    for (const sweep::TrialRecord& trial : trials) {
      facts.push_back({.number = trial.number,
                       .command = command_of(trial, config),
                       .parameters = trial.parameters,
                       .images = shown.contains(trial.number) ? pictures_of(trial, config, paths)
                                                              : std::vector<report::SampleImage>()});
    }
    const report::SweepRecord record = sweep::sweep_record(trials, facts, report_facts(view, config));
    write_file_atomically(paths.report(), std::string_view(report::sweep_page(record, report::plotly_bundle())));
    return fmt::format("report: {}", paths.report().string());
  } catch (const Error& error) {
    log::warn("the report of {} was not written: {}", paths.root.string(), error.what());
    return "";
  }
}

}  // namespace dormer::cli
