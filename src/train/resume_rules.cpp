#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <string_view>

#include "dormer/config/write.hpp"
#include "dormer/core/error.hpp"
#include "dormer/train/run_config.hpp"

namespace dormer::train {
namespace {

// Keys, and groups with everything below them, that do not touch what is learned.
constexpr std::array<std::string_view, 15> kFree{"run.name",
                                                 "run.directory",
                                                 "run.resume",
                                                 "run.time_limit",
                                                 "run.recompute",
                                                 "run.watchdog",
                                                 "optimizer.max_skipped",
                                                 "model.stage",
                                                 "validation.every",
                                                 "validation.keep_best",
                                                 "checkpoint",
                                                 "export",
                                                 "schedule.extend",
                                                 "samples",
                                                 "parallel.shard_optimizer"};
// The experiment stays the same, its bits may not.
constexpr std::array<std::string_view, 5> kInexact{"run.threads", "run.device", "run.deterministic", "run.linear",
                                                   "run.exact"};
constexpr std::array<std::string_view, 2> kLength{"run.steps", "run.epochs"};

bool under_any(std::string_view key, auto&& prefixes) {
  return std::ranges::any_of(prefixes, [&](std::string_view prefix) {
    return key == prefix || (key.starts_with(prefix) && key[prefix.size()] == '.');
  });
}

double number(const std::string& text) {
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} ? value : 0.0;
}

std::string value_of(const std::map<std::string, std::string>& values, const std::string& key) {
  const auto found = values.find(key);
  return found == values.end() ? "absent" : found->second;
}

}  // namespace

std::map<std::string, std::string> lasting_values(std::map<std::string, std::string> values) {
  std::erase_if(values,
                [](const auto& entry) { return under_any(entry.first, kFree) || under_any(entry.first, kInexact); });
  return values;
}

ResumeComparison compare_for_resume(const std::map<std::string, std::string>& stored,
                                    const std::map<std::string, std::string>& current) {
  std::map<std::string, std::string> keys = stored;
  keys.insert(current.begin(), current.end());
  const bool may_extend =
      value_of(current, "schedule.extend") == "keep" || value_of(current, "schedule.extend") == "stretch";
  // What an older version did not know was done as it is done by default.
  RunConfig plain;
  const std::map<std::string, std::string> defaults = config::flatten(
      std::function<void(config::Visitor&)>([&](config::Visitor& visitor) { plain.describe(visitor); }));
  ResumeComparison result;
  for (const auto& entry : keys) {
    const std::string& key = entry.first;
    const std::string before = value_of(stored.contains(key) ? stored : defaults, key);
    const std::string after = value_of(current, key);
    if (before == after) {
      continue;
    }
    const std::string change = fmt::format("{}: {} -> {}", key, before, after);
    if (under_any(key, kFree)) {
      result.allowed.push_back(change);
    } else if (under_any(key, kInexact)) {
      result.inexact.push_back(change);
    } else if (under_any(key, kLength) && number(after) > number(before) && number(before) > 0.0) {
      may_extend ? result.allowed.push_back(change)
                 : result.refused.push_back(change + " (more updates need schedule.extend: keep or stretch)");
    } else {
      result.refused.push_back(change);
    }
  }
  return result;
}

}  // namespace dormer::train
