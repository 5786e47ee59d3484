#include "dormer/sweep/store.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <system_error>
#include <utility>

#include "dormer/config/write.hpp"
#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/storage/checkpoint.hpp"
#include "sweep/worker_file.hpp"

namespace dormer::sweep {
namespace {

constexpr double kLookForLosses = 5.0;  // seconds between two looks at the other workers

SchedulerPlan plan_of(const SweepConfig& config) {
  // Where the length of a run depends on its data, trials say themselves that they are done.
  constexpr std::int64_t kOpenEnd = std::numeric_limits<std::int64_t>::max() / 4;
  std::optional<double> budget = config.sweep.budget_seconds();
  if (budget) {
    *budget /= static_cast<double>(config.sweep.ranks_per_trial);  // of devices, of which a trial has as many
  }
  return {.seeds = config.sweep.seeds,
          .total_steps = config.run.run.steps.value_or(kOpenEnd),
          .maximize = config.sweep.goal == "maximize",
          .lag = config.sweep.lag,
          .max_failed = config.sweep.max_failed,
          .budget_seconds = budget};
}

StoppingInputs stopping_inputs(const SweepConfig& config) {
  constexpr std::int64_t kParts = 8;  // of a run, where the file says nothing
  const std::int64_t total = config.run.run.steps.value_or(kParts);
  return {.minimum_steps = config.sweep.stopping.minimum_steps.value_or(std::max<std::int64_t>(total / kParts, 1)),
          .factor = config.sweep.stopping.factor};
}

/// The sweep as text, for people and to tell what differs from another.
std::string description(const SweepConfig& config) {
  std::string text = config::dump(config.run) + "sweep:\n";
  for (const auto& [key, value] : config::flatten(config.sweep)) {
    text += fmt::format("  # {}: {}\n", key, value);
  }
  for (const std::string& line : config.space.description()) {
    text += fmt::format("  # space: {}\n", line);
  }
  return text;
}

/// Updates of the newest checkpoint that was committed.
std::int64_t saved_updates(const std::filesystem::path& trial) {
  const std::vector<storage::CheckpointPlace> checkpoints = storage::list_checkpoints(trial / "checkpoints");
  return checkpoints.empty() ? 0 : checkpoints.front().step;
}

std::string first_difference(const std::string& theirs, const std::string& ours) {
  const auto [a, b] = std::ranges::mismatch(theirs, ours);
  const auto line_at = [](const std::string& text, std::size_t position) {
    const std::size_t begin = position == 0 ? 0 : text.rfind('\n', position - 1) + 1;
    std::string line = text.substr(begin, text.find('\n', position) - begin);
    line.erase(0, std::min(line.find_first_not_of(" #"), line.size()));
    return line;
  };
  return fmt::format("there '{}', here '{}'", line_at(theirs, static_cast<std::size_t>(a - theirs.begin())),
                     line_at(ours, static_cast<std::size_t>(b - ours.begin())));
}

}  // namespace

std::filesystem::path SweepPaths::trial(std::int64_t number) const {
  return trials() / fmt::format("{:06}", number);
}

std::filesystem::path SweepPaths::sample(std::int64_t number, const std::string& prompt) const {
  return samples() / fmt::format("{:06}-{}.png", number, prompt);
}

SweepState::SweepState(const SweepConfig& config)
    : sampler_(sampler_registry().get("sweep.method", config.sweep.method)(
          {.space = config.space, .seed = RandomKey{static_cast<std::uint64_t>(config.sweep.seed)}})),
      rule_(stopping_registry().get("sweep.stopping.kind", config.sweep.stopping.kind)(stopping_inputs(config))),
      scheduler_(std::make_unique<Scheduler>(plan_of(config), *sampler_, *rule_)) {}

Store::Store(const SweepConfig& config, std::function<void()> progress)
    : config_(config),
      paths_{config.run.run.directory},
      state_(config),
      journal_(paths_.journal(), chosen_lock(), std::move(progress)) {
  std::error_code code;
  std::filesystem::create_directories(paths_.workers(), code);
  require(!code, Fault::kIo, "cannot make {}: {}; choose another run.directory", paths_.workers().string(),
          code.message());
  begin_or_join();
  remove_superseded();
}

Store::~Store() = default;

void Store::begin_or_join() {
  const std::string own = identity(config_);
  const std::int64_t points = point_count(config_);
  journal_.transact([this](const Event& event) { apply(event); },
                    [&]() -> std::vector<Event> {
                      if (!identity_.empty() && identity_ != own) {
                        fail(Fault::kUsage, "{} holds another sweep ({}); choose another run.directory",
                             paths_.root.string(),
                             first_difference(read_file(paths_.config(), "sweep"), description(config_)));
                      }
                      if (!identity_.empty() && points <= scheduler().points()) {
                        return {};
                      }
                      require(identity_.empty() || scheduler().can_grow(), Fault::kUsage,
                              "sweep.trials was {} and is {}: trials of {} have been judged among those {} already; "
                              "begin another sweep in another run.directory",
                              scheduler().points(), points, paths_.root.string(), scheduler().points());
                      write_file_atomically(paths_.config(), std::string_view(description(config_)));
                      return {{.kind = EventKind::kBegun, .step = points, .text = own, .time = unix_time()}};
                    });
}

void Store::apply(const Event& event) {
  if (event.kind == EventKind::kBegun && identity_.empty()) {
    identity_ = event.text;
  }
  if (event.kind == EventKind::kInputs) {
    inputs_.emplace(event.text, event.settings.value_or(Point{}));
  }
  state_.scheduler().apply(event);
  if (event.trial >= 0 && event.kind != EventKind::kStarted && event.kind != EventKind::kAdded) {
    ended_.insert(event.trial);
  }
}

std::vector<Event> Store::losses() const {
  std::vector<Event> events;
  for (const auto& [worker, trials] : scheduler().busy_workers()) {
    // Who claims by hand (dormer sweep ask) answers when it likes.
    if (worker.starts_with("outside:") || !is_gone(paths_.workers(), worker)) {
      continue;
    }
    Event event{.kind = EventKind::kLost, .worker = worker, .time = unix_time()};
    for (const std::int64_t trial : trials) {
      event.saved.emplace_back(trial, saved_updates(paths_.trial(trial)));
    }
    events.push_back(std::move(event));
  }
  return events;
}

std::vector<Assignment> Store::claim(const std::string& worker, std::size_t most) {
  const auto apply_event = [this](const Event& event) { apply(event); };
  const double now = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  if (now - looked_for_losses_ > kLookForLosses) {
    looked_for_losses_ = now;
    journal_.transact(apply_event, [this] { return losses(); });
    remove_superseded();
  }
  std::vector<Assignment> assignments;
  journal_.transact(apply_event, [&] {
    assignments = scheduler().next(most);
    std::vector<Event> events;
    for (const Assignment& one : assignments) {
      events.push_back({.kind = EventKind::kStarted,
                        .trial = one.trial,
                        .attempt = one.attempt,
                        .step = one.until,
                        .worker = worker,
                        .settings = one.fresh ? std::optional(one.settings) : std::nullopt,
                        .time = unix_time()});
    }
    return events;
  });
  return assignments;
}

void Store::append(std::vector<Event> events) {
  for (Event& event : events) {
    event.time = unix_time();
  }
  journal_.transact([this](const Event& event) { apply(event); }, [&] { return events; });
  remove_superseded();
}

void Store::check_inputs(const std::string& name, const Point& fingerprint) {
  if (!inputs_.contains(name)) {
    journal_.transact(
        [this](const Event& event) { apply(event); },
        [&]() -> std::vector<Event> {
          if (inputs_.contains(name)) {
            return {};
          }
          return {{.kind = EventKind::kInputs, .text = name, .settings = fingerprint, .time = unix_time()}};
        });
  }
  const Point& first = inputs_.at(name);
  for (const Setting& input : fingerprint) {
    const auto found = std::ranges::find(first, input.path, &Setting::path);
    require(found != first.end() && found->text == input.text, Fault::kUsage,
            "{} is not what it was when the sweep in {} began: trials would not be comparable; put the old files back, "
            "or choose another run.directory",
            input.path, paths_.root.string());
  }
}

void Store::look() {
  journal_.read([this](const Event& event) { apply(event); });
}

// Stopped and failed trials keep their line in the journal alone; of the complete ones the best points keep files.
void Store::remove_superseded() {
  std::set<std::int64_t> gone;
  bool point_ended = false;
  for (const std::int64_t number : std::exchange(ended_, {})) {
    const TrialRecord* trial = scheduler().find(number);
    if (trial != nullptr && (trial->state == TrialState::kStopped || trial->state == TrialState::kFailed)) {
      gone.insert(number);
    }
    if (trial != nullptr && trial->state == TrialState::kComplete) {
      point_ended = true;
      std::error_code code;  // file systems of clusters count files: a lock and a hint serve nobody any more
      std::filesystem::remove(paths_.trial(number) / "run.lock", code);
      std::filesystem::remove(paths_.trial(number) / "checkpoints" / "LATEST", code);
    }
  }
  if (point_ended) {
    std::vector<std::pair<double, std::int64_t>> standing;
    for (const auto& [point, mean] : scheduler().ended_points()) {
      standing.emplace_back(mean.value_or(std::numeric_limits<double>::infinity()), point);
    }
    std::ranges::sort(standing);
    for (std::size_t place = static_cast<std::size_t>(config_.sweep.keep); place < standing.size(); ++place) {
      for (const std::int64_t number : scheduler().trials_of(standing[place].second)) {
        gone.insert(number);
      }
    }
  }
  for (const std::int64_t number : gone) {
    std::error_code code;
    std::filesystem::remove_all(paths_.trial(number), code);
    if (code) {
      log::warn("{} is not needed any more and cannot be removed: {}", paths_.trial(number).string(), code.message());
    }
  }
}

LockKind chosen_lock() {
  const char* name = std::getenv("DORMER_SWEEP_LOCK");
  const std::string_view chosen = name == nullptr ? "kernel" : name;
  require(chosen == "kernel" || chosen == "folder", Fault::kUsage,
          "DORMER_SWEEP_LOCK is '{}'; it can be kernel or folder", chosen);
  return chosen == "folder" ? LockKind::kFolder : LockKind::kKernel;
}

double unix_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace dormer::sweep
