#include "train/optimizer_rules.hpp"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>

namespace dormer::train {
namespace {

/// A key that means something to some kinds alone, and whether the file changes it.
struct OwnKey {
  std::string_view key;
  bool changed;
  std::vector<std::string_view> kinds;
};

void refuse_foreign(std::string_view group, const std::string& kind, const std::vector<OwnKey>& keys,
                    std::vector<std::string>& messages) {
  for (const OwnKey& own : keys) {
    if (own.changed && std::ranges::find(own.kinds, kind) == own.kinds.end()) {
      messages.push_back(fmt::format("{}.{}: kind: {} does not know it; take it away, or write kind: {}", group,
                                     own.key, kind, own.kinds.front()));
    }
  }
}

void check_kind(const OptimizerSection& optimizer, std::vector<std::string>& messages) {
  const OptimizerSection usual;
  refuse_foreign(
      "optimizer", optimizer.kind,
      {{"betas",
        optimizer.betas != usual.betas,
        {"adamw", "lion", "adamw_8bit", "came", "prodigy", "schedule_free_adamw"}},
       {"epsilon", optimizer.epsilon != usual.epsilon, {"adamw", "adamw_8bit", "prodigy", "schedule_free_adamw"}},
       {"adafactor", optimizer.adafactor != usual.adafactor, {"adafactor"}},
       {"came", optimizer.came != usual.came, {"came"}},
       {"prodigy", optimizer.prodigy != usual.prodigy, {"prodigy"}}},
      messages);
  // A rate for other kinds would leave this one where it starts.
  constexpr double kLeastFactor = 0.01;
  if (optimizer.kind == "prodigy" && optimizer.learning_rate < kLeastFactor) {
    messages.push_back(
        fmt::format("optimizer.learning_rate: prodigy finds its own rate, and multiplies it with this {}; write 1.0",
                    optimizer.learning_rate));
  }
  if (!(optimizer.came.confidence_beta < 1.0)) {
    messages.emplace_back("optimizer.came.confidence_beta: must be below 1");
  }
  if (optimizer.prodigy.growth_rate && !(*optimizer.prodigy.growth_rate > 1.0)) {
    messages.emplace_back("optimizer.prodigy.growth_rate: must be above 1; null means no end");
  }
}

void check_schedule(const ScheduleSection& schedule, std::vector<std::string>& messages) {
  refuse_foreign("schedule", schedule.kind,
                 {{"cycles", schedule.cycles != 1, {"cosine_restarts"}},
                  {"power", schedule.power != 1.0, {"polynomial"}},
                  {"minimum_factor",
                   schedule.minimum_factor != 0.0,
                   {"cosine", "linear", "cosine_restarts", "polynomial", "inverse_sqrt", "rex"}}},
                 messages);
  if (!(schedule.minimum_factor < 1.0)) {
    messages.emplace_back("schedule.minimum_factor: must be below 1; kind: constant stays at the learning rate");
  }
}

}  // namespace

void check_optimizer(const RunConfig& config, std::vector<std::string>& messages) {
  const std::vector<double>& betas = config.optimizer.betas;
  if (betas.size() != 2 || std::ranges::any_of(betas, [](double beta) { return !(beta >= 0.0 && beta < 1.0); })) {
    messages.emplace_back("optimizer.betas: must be two numbers, each at least 0 and below 1");
  }
  check_kind(config.optimizer, messages);
  check_schedule(config.schedule, messages);
  if (config.optimizer.kind == "schedule_free_adamw" && config.optimizer.ema) {
    messages.emplace_back("optimizer.ema: kind: schedule_free_adamw keeps an average of its own; take ema away");
  }
  if (config.optimizer.kind == "schedule_free_adamw") {
    if (config.schedule.kind != "constant") {
      messages.emplace_back(
          "schedule.kind: optimizer.kind: schedule_free_adamw averages instead; write kind: constant");
    }
    if (!betas.empty() && betas.front() == 0.0) {
      messages.emplace_back("optimizer.betas: schedule_free_adamw divides by the first one; write one above 0");
    }
  }
}

}  // namespace dormer::train
