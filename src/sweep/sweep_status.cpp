#include "dormer/sweep/sweep_status.hpp"

#include <algorithm>
#include <map>
#include <string_view>

#include <fmt/format.h>

#include "dormer/report/wording.hpp"
#include "dormer/sweep/leaderboard.hpp"
#include "dormer/sweep/rung_counts.hpp"

namespace dormer::sweep {
namespace {

constexpr std::size_t kColumns = 100;
constexpr std::size_t kNameColumns = 40;  // of a name in a table
constexpr std::size_t kMostRows = 12;     // of workers and failures

bool begins_a_letter(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U;
}

/// At most `columns` letters, on one line.
std::string cut(std::string_view text, std::size_t columns) {
  std::string result;
  std::size_t letters = 0;
  std::size_t last_but_one = 0;  // where the letter begins that an ellipsis would replace
  for (const char byte : text) {
    if (begins_a_letter(byte) && ++letters == columns) {
      last_but_one = result.size();
    }
    if (letters > columns) {
      return result.substr(0, last_but_one) + "…";
    }
    result += static_cast<unsigned char>(byte) < 0x20U ? ' ' : byte;
  }
  return result;
}

/// Lines of which none is longer than the terminal.
class Lines {
 public:
  void add(std::string_view line) { text_ += cut(line, kColumns) + "\n"; }
  void heading(std::string_view line) {
    text_ += "\n";
    add(line);
  }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

std::string counts_line(std::span<const TrialRecord> trials) {
  std::string text;
  for (const TrialState state :
       {TrialState::kComplete, TrialState::kRunning, TrialState::kWaiting, TrialState::kStopped, TrialState::kFailed}) {
    const auto count = std::ranges::count(trials, state, &TrialRecord::state);
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, name_of(state));
  }
  return text;
}

void add_head(Lines& lines, std::span<const TrialRecord> trials, const StatusFacts& facts) {
  double seconds = 0.0;
  for (const TrialRecord& trial : trials) {
    seconds += trial.seconds();
  }
  lines.add(facts.name);
  const std::string planned = facts.planned > 0 ? fmt::format(" of {}", facts.planned) : "";
  lines.add(fmt::format("trials   {}{}: {}", trials.size(), planned, counts_line(trials)));
  lines.add(fmt::format("time     {} since it began, {} of training in all trials",
                        report::duration_text(facts.elapsed_seconds), report::duration_text(seconds)));
}

std::string settings_line(const Point& point, const std::map<std::string, std::string>& names) {
  std::string text;
  for (const Setting& setting : point) {
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", names.at(setting.path), setting.text);
  }
  return text;
}

std::map<std::string, std::string> names_of(std::span<const TrialRecord> trials) {
  std::map<std::string, std::string> names;
  for (const TrialRecord& trial : trials) {
    for (const Setting& setting : trial.settings) {
      names.emplace(setting.path, "");
    }
  }
  std::vector<std::string> paths;
  for (const auto& [path, name] : names) {
    paths.push_back(path);
  }
  const std::vector<std::string> shortened = report::short_names(paths);
  for (std::size_t i = 0; i < paths.size(); ++i) {
    names[paths[i]] = shortened[i];
  }
  return names;
}

void add_best(Lines& lines, std::span<const TrialRecord> trials, const StatusFacts& facts) {
  const std::vector<Standing> standings = leaderboard(trials, facts.goal, facts.rungs);
  const std::map<std::string, std::string> names = names_of(trials);
  const bool minimize = facts.goal == Goal::kMinimize;
  lines.heading(fmt::format("best points by {} ({}; mean over seeds, +/- 95%)", facts.metric,
                            minimize ? "the less the better" : "the more the better"));
  lines.add(fmt::format("{:>5} {:>6}  {:<21} {:>6} {:>8}  {:<9} {}", "place", "point", "value", "seeds", "updates",
                        "state", "settings"));
  std::size_t shown = 0;
  for (const Standing& one : standings) {
    if (!one.mean) {
      continue;
    }
    if (shown == facts.best) {
      break;
    }
    ++shown;
    const std::string value =
        fmt::format("{:.5g}{}", *one.mean, one.half_width ? fmt::format(" +/- {:.2g}", *one.half_width) : "");
    lines.add(fmt::format("{:>5} {:>6}  {:<21} {:>6} {:>8}  {:<9} {}", one.place, one.point, value,
                          fmt::format("{}/{}", one.measured, one.replicas), one.step, name_of(one.state),
                          settings_line(one.settings, names)));
  }
  if (shown == 0) {
    lines.add("      none was measured yet");
  }
}

void add_rungs(Lines& lines, std::span<const TrialRecord> trials, const StatusFacts& facts) {
  if (facts.rungs.empty()) {
    return;
  }
  lines.heading("rungs");
  lines.add(fmt::format("{:>9} {:>9} {:>9} {:>9} {:>9} {:>9}", "update", "reached", "passed", "stopped", "failed",
                        "going on"));
  for (const RungCount& rung : rung_counts(trials, facts.rungs)) {
    lines.add(fmt::format("{:>9} {:>9} {:>9} {:>9} {:>9} {:>9}", rung.step, rung.reached, rung.passed, rung.stopped,
                          rung.failed, rung.going_on));
  }
}

void add_workers(Lines& lines, const StatusFacts& facts) {
  if (facts.workers.empty()) {
    return;
  }
  lines.heading("workers");
  // Lost ones first: they are what somebody may have to look at.
  std::vector<WorkerStatus> workers = facts.workers;
  std::ranges::stable_partition(workers, &WorkerStatus::lost);
  for (std::size_t i = 0; i < std::min(workers.size(), kMostRows); ++i) {
    const WorkerStatus& worker = workers[i];
    lines.add(fmt::format("  {}  {}, heard {} ago{}", cut(worker.name, kNameColumns),
                          worker.trial ? fmt::format("trial {}", *worker.trial) : "without a trial",
                          report::duration_text(worker.silent_seconds), worker.lost ? ": lost" : ""));
  }
  if (workers.size() > kMostRows) {
    lines.add(fmt::format("  and {} more", workers.size() - kMostRows));
  }
}

void add_failures(Lines& lines, std::span<const TrialRecord> trials) {
  std::vector<const TrialRecord*> failed;
  for (const TrialRecord& trial : trials) {
    if (trial.state == TrialState::kFailed) {
      failed.push_back(&trial);
    }
  }
  if (failed.empty()) {
    return;
  }
  lines.heading("failures");
  for (std::size_t i = 0; i < std::min(failed.size(), kMostRows); ++i) {
    lines.add(fmt::format("  trial {} (point {}) after update {}: {}", failed[i]->number, failed[i]->point,
                          failed[i]->steps(), failed[i]->reason.empty() ? "no reason known" : failed[i]->reason));
  }
  if (failed.size() > kMostRows) {
    lines.add(fmt::format("  and {} more", failed.size() - kMostRows));
  }
}

}  // namespace

std::string status_text(std::span<const TrialRecord> trials, const StatusFacts& facts) {
  Lines lines;
  add_head(lines, trials, facts);
  add_best(lines, trials, facts);
  add_rungs(lines, trials, facts);
  add_workers(lines, facts);
  add_failures(lines, trials);
  return lines.take();
}

}  // namespace dormer::sweep
