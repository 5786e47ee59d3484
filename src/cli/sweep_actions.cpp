#include "cli/sweep_actions.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "cli/sweep_view.hpp"
#include "dormer/comm/single.hpp"
#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/sweep/leaderboard.hpp"
#include "dormer/sweep/trial_export.hpp"
#include "dormer/sweep/worker.hpp"
#include "dormer/tensor/process.hpp"
#include "dormer/train/run.hpp"

namespace dormer::cli {
namespace {

const sweep::TrialRecord& best_trial(const std::vector<sweep::TrialRecord>& trials, const sweep::Scheduler& scheduler,
                                     const sweep::SweepConfig& config) {
  const std::vector<sweep::Standing> standings = sweep::leaderboard(trials, goal_of(config), scheduler.rungs());
  const sweep::TrialRecord* best = nullptr;
  if (!standings.empty() && standings.front().by_value) {
    for (const sweep::TrialRecord& trial : trials) {
      if (trial.point == standings.front().point && trial.state == sweep::TrialState::kComplete &&
          (best == nullptr || sweep::better(*trial.value(), *best->value(), goal_of(config)))) {
        best = &trial;
      }
    }
  }
  require(best != nullptr, Fault::kUsage, "no trial of {} is complete yet", config.run.run.directory.string());
  return *best;
}

sweep::Setting setting_of(const std::string& text) {
  const std::size_t equals = text.find('=');
  require(equals != std::string::npos && equals > 0, Fault::kUsage, "--with {}: write it as group.key=value", text);
  return {text.substr(0, equals), text.substr(equals + 1)};
}

/// A trial that runs to its end and is not judged.
int add_point(const sweep::SweepConfig& config, const sweep::Point& point) {
  static_cast<void>(sweep::trial_config(config, point, 0));  // refuses what no run would take
  sweep::Store store(config);
  const std::int64_t number = store.scheduler().next_added();
  store.append({{.kind = sweep::EventKind::kAdded, .trial = number, .settings = point}});
  fmt::print("trial {}: {}\n", number, sweep::text_of(point));
  return 0;
}

}  // namespace

int sweep_status(const ConfigOptions& options, std::size_t best) {
  const sweep::SweepConfig config = options.load_sweep();
  const SweepView view(config);
  fmt::print("{}", status_of(view.scheduler(), config, best));
  if (!view.scheduler().ending().empty()) {
    fmt::print("the sweep has ended: {}\n", view.scheduler().ending());
  }
  return 0;
}

int sweep_best(const ConfigOptions& options, const std::vector<std::string>& consumers) {
  const sweep::SweepConfig config = options.load_sweep();
  const SweepView view(config);
  const std::vector<sweep::TrialRecord> trials = view.scheduler().trials();
  const sweep::TrialRecord& best = best_trial(trials, view.scheduler(), config);
  train::RunConfig run = sweep::run_of_trial(config, view.paths(), best.settings, best.number, best.replica);
  run.exports = config.run.exports;
  if (!consumers.empty()) {
    run.exports.clear();
    for (const std::string& consumer : consumers) {
      run.exports.push_back({.consumer = consumer, .every = {}, .name = config.run.name()});
    }
  }
  require(!run.exports.empty(), Fault::kUsage, "name the program that shall read the adapter: --for peft");
  const std::unique_ptr<comm::Communicator> alone = comm::single();
  tensor::configure_process(run.run.threads);
  const std::vector<std::filesystem::path> written = train::export_run(run, *alone, {.bare = true});
  std::filesystem::create_directories(view.paths().best());
  fmt::print("trial {}: {} = {}, {}\n", best.number, config.sweep.metric, *best.value(), sweep::text_of(best.settings));
  const std::filesystem::path exports = view.paths().trial(best.number) / "export";
  for (const std::filesystem::path& path : written) {
    const std::filesystem::path target = view.paths().best() / path.lexically_relative(exports);
    std::filesystem::remove_all(target);
    std::filesystem::create_directories(target.parent_path());
    std::filesystem::rename(path, target);
    fmt::print("{}\n", target.string());
  }
  std::filesystem::remove_all(exports);
  return 0;
}

int sweep_stop(const ConfigOptions& options, std::int64_t trial) {
  const sweep::SweepConfig config = options.load_sweep();
  const SweepView view(config);
  const sweep::TrialRecord* record = view.scheduler().find(trial);
  require(record != nullptr, Fault::kUsage, "there is no trial {} in {} yet", trial, view.paths().root.string());
  sweep::Store store(config);
  store.append({{.kind = sweep::EventKind::kStopped, .trial = trial, .attempt = 0}});
  fmt::print("trial {}: {}\n", trial,
             store.scheduler().asked_to_stop(trial) ? "its worker will stop it after the update that it is at"
                                                    : name_of(store.scheduler().find(trial)->state));
  return 0;
}

int sweep_clone(const ConfigOptions& options, std::int64_t trial, const std::vector<std::string>& settings) {
  const sweep::SweepConfig config = options.load_sweep();
  const SweepView view(config);
  const sweep::TrialRecord* record = view.scheduler().find(trial);
  require(record != nullptr, Fault::kUsage, "there is no trial {} in {} yet", trial, view.paths().root.string());
  sweep::Point point = record->settings;
  for (const std::string& text : settings) {
    sweep::Setting setting = setting_of(text);
    const auto found = std::ranges::find(point, setting.path, &sweep::Setting::path);
    if (found != point.end()) {
      found->text = setting.text;
    } else {
      point.push_back(std::move(setting));
    }
  }
  return add_point(config, point);
}

int sweep_add(const ConfigOptions& options, const std::vector<std::string>& settings) {
  const sweep::SweepConfig config = options.load_sweep();
  sweep::Point given;
  for (const std::string& text : settings) {
    given.push_back(setting_of(text));
  }
  return add_point(config, config.space.completed(given));
}

int sweep_export(const ConfigOptions& options, bool csv, const std::string& output) {
  const sweep::SweepConfig config = options.load_sweep();
  const SweepView view(config);
  const std::vector<sweep::TrialRecord> trials = view.scheduler().trials();
  const std::string text = csv ? sweep::trials_csv(trials) : sweep::trials_json(trials);
  if (output.empty()) {
    fmt::print("{}", text);
  } else {
    write_file_atomically(output, std::string_view(text));
  }
  return 0;
}

int sweep_report(const ConfigOptions& options) {
  const sweep::SweepConfig config = options.load_sweep();
  const std::string written = write_sweep_report(SweepView(config), config);
  if (!written.empty()) {
    log::info("{}", written);
  }
  return 0;
}

int sweep_ask(const ConfigOptions& options, const std::string& worker) {
  const sweep::SweepConfig config = options.load_sweep();
  sweep::Store store(config);
  const std::vector<sweep::Assignment> claimed = store.claim("outside:" + worker, 1);
  if (claimed.empty()) {
    fmt::print("null\n");
    return 0;
  }
  const sweep::Assignment& one = claimed.front();
  nlohmann::ordered_json answer{{"trial", one.trial},     {"attempt", one.attempt}, {"point", one.point},
                                {"replica", one.replica}, {"until", one.until},     {"settings", nullptr}};
  answer["settings"] = nlohmann::ordered_json::object();
  for (const sweep::Setting& setting : one.settings) {
    answer["settings"][setting.path] = setting.text;
  }
  fmt::print("{}\n", answer.dump());
  return 0;
}

int sweep_tell(const ConfigOptions& options, const Answer& answer) {
  const sweep::SweepConfig config = options.load_sweep();
  sweep::Store store(config);
  const sweep::TrialRecord* record = store.scheduler().find(answer.trial);
  require(record != nullptr && record->state == sweep::TrialState::kRunning &&
              store.scheduler().attempt_of(answer.trial) == answer.attempt,
          Fault::kUsage, "trial {}, attempt {}: nobody has it; dormer sweep ask claims one", answer.trial,
          answer.attempt);
  sweep::Event event{.kind = sweep::EventKind::kMeasured,
                     .trial = answer.trial,
                     .attempt = answer.attempt,
                     .step = answer.step,
                     .finished = answer.finished};
  if (!answer.failed.empty()) {
    event.kind = sweep::EventKind::kFailed;
    event.text = answer.failed;
  } else {
    require(answer.step > record->steps(), Fault::kUsage, "--step {}: trial {} was measured after {} updates already",
            answer.step, answer.trial, record->steps());
    event.measurements = {{.step = answer.step, .value = answer.value, .seconds = answer.seconds}};
  }
  store.append({event});
  fmt::print("trial {}: {}\n", answer.trial, name_of(store.scheduler().find(answer.trial)->state));
  return 0;
}

}  // namespace dormer::cli
