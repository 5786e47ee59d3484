#include "train/fault_hooks.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <csignal>
#include <ranges>
#include <thread>
#include <utility>

#include <fmt/ranges.h>

#include "dormer/comm/world.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"

namespace dormer::train {
namespace {

constexpr const char* kVariable = "DORMER_FAULT";

constexpr std::array<std::pair<std::string_view, FaultAction>, 8> kActions{{{"kill", FaultAction::kKill},
                                                                            {"stop", FaultAction::kStop},
                                                                            {"hang", FaultAction::kHang},
                                                                            {"delay", FaultAction::kDelay},
                                                                            {"nan", FaultAction::kNotANumber},
                                                                            {"error", FaultAction::kError},
                                                                            {"usr1", FaultAction::kUsr1},
                                                                            {"term", FaultAction::kTerm}}};

// In the order in which a run passes them; those of a save as storage::CommitPoint has them.
constexpr std::array<std::string_view, 22> kPoints{
    "start",      "encoding",      "opening",     "loaded",         "validation",  "picture",    "update",
    "gradient",   "reduced",       "updated",     "metrics",        "gathered",    "save-begun", "save-made",
    "save-shard", "save-manifest", "save-synced", "save-committed", "save-hinted", "saved",      "export",
    "end"};
constexpr std::array<std::string_view, 7> kCommitPoints{"save-begun",  "save-made",      "save-shard", "save-manifest",
                                                        "save-synced", "save-committed", "save-hinted"};

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(' ');
  return begin == std::string_view::npos ? std::string_view()
                                         : text.substr(begin, text.find_last_not_of(' ') - begin + 1);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(separator, begin), text.size());
    parts.push_back(trimmed(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return parts;
}

template <typename T>
T number(std::string_view text, std::string_view whole) {
  T value{};
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  require(code == std::errc() && end == text.data() + text.size(), Fault::kUsage, "{}: '{}' in '{}' is no number",
          kVariable, text, whole);
  return value;
}

void read_option(FaultHook& hook, std::string_view option, std::string_view whole) {
  const std::size_t equals = option.find('=');
  const std::string_view name = option.substr(0, equals);
  const std::string_view value = equals == std::string_view::npos ? "" : option.substr(equals + 1);
  if (name == "rank") {
    hook.rank = number<int>(value, whole);
  } else if (name == "step") {
    hook.step = number<std::int64_t>(value, whole);
  } else if (name == "seconds") {
    hook.seconds = number<double>(value, whole);
  } else {
    fail(Fault::kUsage, "{}: '{}' in '{}' is not known; write rank=, step= or seconds=", kVariable, name, whole);
  }
}

FaultHook parse_one(std::string_view text) {
  const std::vector<std::string_view> parts = split(text, ',');
  const std::size_t colon = parts.front().find(':');
  const std::string_view word = parts.front().substr(0, colon);
  const auto action = std::ranges::find(kActions, word, [](const auto& entry) { return entry.first; });
  require(action != kActions.end(), Fault::kUsage, "{}: '{}' is no action; write {}, as in kill:update,rank=1,step=3",
          kVariable, word, fmt::join(kActions | std::views::keys, ", "));
  FaultHook hook{.action = action->second,
                 .point = std::string(colon == std::string_view::npos ? "" : parts.front().substr(colon + 1)),
                 .rank = {},
                 .step = {}};
  require(std::ranges::find(kPoints, hook.point) != kPoints.end(), Fault::kUsage,
          "{}: '{}' is no point of a run; write one of {}", kVariable, hook.point, fmt::join(kPoints, ", "));
  std::for_each(parts.begin() + 1, parts.end(), [&](std::string_view option) { read_option(hook, option, text); });
  return hook;
}

}  // namespace

std::vector<FaultHook> parse_fault_hooks(std::string_view text) {
  std::vector<FaultHook> hooks;
  for (const std::string_view one : split(text, ';')) {
    if (!one.empty()) {
      hooks.push_back(parse_one(one));
    }
  }
  return hooks;
}

FaultHooks FaultHooks::from_environment(int rank) {
  const comm::Environment environment = comm::current_environment();
  const auto found = environment.find(kVariable);
  return found == environment.end() ? FaultHooks() : FaultHooks(parse_fault_hooks(found->second), rank);
}

void FaultHooks::reach(storage::CommitPoint point, std::int64_t step) const {
  reach(kCommitPoints.at(static_cast<std::size_t>(point)), step);
}

bool FaultHooks::act(std::string_view point, std::int64_t step) const {
  bool not_a_number = false;
  for (const FaultHook& hook : hooks_) {
    if (hook.point != point || hook.rank.value_or(rank_) != rank_ || hook.step.value_or(step) != step) {
      continue;
    }
    log::warn("{}: at '{}' of step {}", kVariable, point, step);
    switch (hook.action) {
      case FaultAction::kKill:
        std::raise(SIGKILL);
        break;
      case FaultAction::kStop:
        std::raise(SIGSTOP);
        break;
      case FaultAction::kHang:
        std::this_thread::sleep_for(std::chrono::hours(24 * 365));
        break;
      case FaultAction::kDelay:
        std::this_thread::sleep_for(std::chrono::duration<double>(hook.seconds));
        break;
      case FaultAction::kNotANumber:
        not_a_number = true;
        break;
      case FaultAction::kUsr1:
        std::raise(SIGUSR1);
        break;
      case FaultAction::kTerm:
        std::raise(SIGTERM);
        break;
      case FaultAction::kError:
        fail(Fault::kIo, "{}: an error at '{}' of step {}", kVariable, point, step);
    }
  }
  return not_a_number;
}

}  // namespace dormer::train
