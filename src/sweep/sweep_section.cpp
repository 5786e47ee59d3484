#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>

#include "dormer/sweep/sampler.hpp"
#include "dormer/sweep/stopping.hpp"
#include "dormer/sweep/sweep_config.hpp"
#include "sweep/section_rules.hpp"
#include "sweep/values.hpp"

namespace dormer::sweep {
namespace {

constexpr std::array<std::pair<std::string_view, double>, 13> kUnits{{{"s", 1.0},
                                                                      {"second", 1.0},
                                                                      {"seconds", 1.0},
                                                                      {"min", 60.0},
                                                                      {"minute", 60.0},
                                                                      {"minutes", 60.0},
                                                                      {"h", 3600.0},
                                                                      {"hour", 3600.0},
                                                                      {"hours", 3600.0},
                                                                      {"d", 86400.0},
                                                                      {"day", 86400.0},
                                                                      {"days", 86400.0},
                                                                      {"hrs", 3600.0}}};

/// "40 gpu-hours" in seconds of one device; nothing for another text.
std::optional<double> parse_budget(std::string_view text) {
  double amount = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), amount);
  if (error != std::errc{} || !std::isfinite(amount) || amount <= 0.0) {
    return std::nullopt;
  }
  std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  unit.remove_prefix(std::min(unit.find_first_not_of(' '), unit.size()));
  for (const std::string_view device : {"gpu-", "device-"}) {
    if (unit.starts_with(device)) {
      unit.remove_prefix(device.size());
      break;
    }
  }
  for (const auto& [name, seconds] : kUnits) {
    if (name == unit) {
      return amount * seconds;
    }
  }
  return std::nullopt;
}

}  // namespace

void StoppingSection::describe(config::Visitor& visitor) {
  visitor.field("kind", kind,
                {.doc = "none: every trial runs to its end. halving: all trials go to minimum_steps, the best of so "
                        "many (factor) go on to factor times as many updates, and so on. asha: the same without "
                        "waiting for all. median: a trial ends that is worse than the median of the others at the same "
                        "updates. patience: a trial ends after so many measurements without a better one.",
                 .choices = stopping_registry().names()});
  visitor.field(
      "minimum_steps", minimum_steps,
      {.doc = "Updates that every trial gets. halving and asha want it; null for the others: none.", .min = 1});
  visitor.field("factor", factor, {.doc = "halving, asha: of so many trials, one goes on.", .min = 2, .max = 1024});
  visitor.field("patience", patience,
                {.doc = "patience: measurements without a better one before a trial ends.", .min = 1});
}

void SweepSection::describe(config::Visitor& visitor) {
  visitor.field("method", method,
                {.doc = "How points are chosen. grid: all of them, the first axis slowest. random: each by itself. "
                        "quasi_random: spread evenly over the space (scrambled Sobol sequence). tpe: learns from the "
                        "results before (docs/sweeps.md).",
                 .choices = sampler_registry().names()});
  visitor.field(
      "trials", trials,
      {.doc =
           "Points to try. null under method: grid: all of the grid. 0: none but those that `dormer sweep add` gives.",
       .min = 0});
  visitor.field("seeds", seeds,
                {.doc = "Replicas of every point, under run.seed, run.seed + 1, …; their mean is the point's value.",
                 .min = 1,
                 .max = 1 << 16});
  visitor.field("seed", seed, {.doc = "Decides which points are chosen.", .min = 0});
  visitor.field(
      "metric", metric,
      {.doc = "What is compared: the held-out loss or the training loss.", .choices = {"validation_loss", "loss"}});
  visitor.field("goal", goal, {.doc = "Whether less or more of it is better.", .choices = {"minimize", "maximize"}});
  visitor.group("stopping", stopping, "When trials end before their time.");
  visitor.field(
      "pack", pack,
      {.doc = "How many trials share one frozen model and one step, at most. auto: as many as fit and pay, which "
              "is measured on the way."});
  visitor.field("ranks_per_trial", ranks_per_trial,
                {.doc = "Ranks that train a trial, or a pack of trials, together.", .min = 1, .max = 4096});
  visitor.field("max_failed", max_failed,
                {.doc = "The sweep ends when more trials than this have failed. null: it goes on.", .min = 0});
  visitor.field("budget", budget,
                {.doc = "Time of devices that the whole sweep may use: 40 gpu-hours, 90 min. null: no end."});
  visitor.field("lag", lag,
                {.doc = "A sampler that learns chooses point i from the results of the points before i - lag, so that "
                        "so many may be tried side by side and the points are the same for any number of workers.",
                 .min = 0});
  visitor.field("keep", keep, {.doc = "Best trials whose checkpoints stay when the sweep ends.", .min = 0});
  visitor.field("evaluate", evaluate,
                {.doc = "A command that measures a trial; its value takes the metric's place. null: none."});
}

std::optional<std::int64_t> SweepSection::pack_limit() const {
  const std::optional<double> limit = number_of(pack);
  return limit ? std::optional(static_cast<std::int64_t>(*limit)) : std::nullopt;
}

std::optional<double> SweepSection::budget_seconds() const {
  return budget ? parse_budget(*budget) : std::nullopt;
}

std::vector<std::string> check(const SweepSection& sweep) {
  std::vector<std::string> messages;
  if (!sweep.trials && sweep.method != "grid") {
    messages.emplace_back("sweep.trials: is missing: how many points to try; a grid alone has an end of its own");
  }
  const std::optional<double> limit = number_of(sweep.pack);
  if (sweep.pack != "auto" && !(limit && *limit >= 1.0 && *limit <= 4096.0 && *limit == std::floor(*limit))) {
    messages.push_back(fmt::format("sweep.pack: '{}' is not auto or a whole number from 1 to 4096", sweep.pack));
  }
  if (sweep.budget && !sweep.budget_seconds()) {
    messages.push_back(fmt::format(
        "sweep.budget: '{}' is no time of devices: write 40 gpu-hours, 90 min (s, min, h, d)", *sweep.budget));
  }
  const StoppingSection& stopping = sweep.stopping;
  if (!stopping.minimum_steps && (stopping.kind == "halving" || stopping.kind == "asha")) {
    messages.push_back(
        fmt::format("sweep.stopping.minimum_steps: is missing: kind {} wants the updates that every "
                    "trial gets",
                    stopping.kind));
  }
  if (stopping.kind == "patience" && !stopping.patience) {
    messages.emplace_back("sweep.stopping.patience: is missing: measurements without a better one");
  }
  return messages;
}

std::vector<config::ForeignName> foreign_sweep_names() {
  const auto write = [](const char* key, const std::string& lines) {
    return config::ForeignName{key, "", "write \"" + lines + "\""};
  };
  std::vector<config::ForeignName> names;
  for (const char* key : {"n_trials", "num_samples", "maxTrialCount", "max_trials", "count"}) {
    names.push_back(write(key, "sweep: {trials: $}"));
  }
  for (const char* key : {"maxFailedTrialCount", "max_failures"}) {
    names.push_back(write(key, "sweep: {max_failed: $}"));
  }
  for (const char* key : {"min_resource", "grace_period", "min_iter", "n_warmup_steps"}) {
    names.push_back(write(key, "sweep: {stopping: {minimum_steps: $}}"));
  }
  for (const char* key : {"reduction_factor", "eta"}) {
    names.push_back(write(key, "sweep: {stopping: {factor: $}}"));
  }
  for (const char* key : {"max_t", "max_resource", "max_iter"}) {
    names.push_back({key, "", "leave it out; a trial has the updates of run.steps or run.epochs"});
  }
  names.push_back(write("direction", "sweep: {goal: $}"));
  names.push_back(write("mode", "sweep: {goal: minimize}"));
  for (const char* key : {"sampler", "algorithm", "search_alg"}) {
    names.push_back(write(key, "sweep: {method: tpe}"));
  }
  for (const char* key : {"pruner", "scheduler", "early_stopping"}) {
    names.push_back(write(key, "sweep: {stopping: {kind: asha, minimum_steps: …}}"));
  }
  for (const char* key : {"parallelTrialCount", "max_concurrent_trials", "n_jobs"}) {
    names.push_back({key, "", "leave it out; as many trials run as there are ranks"});
  }
  for (const char* key : {"program", "command", "project", "entity", "name", "description"}) {
    names.push_back({key, "", "leave it out; there is nothing to set"});
  }
  names.push_back({"method", "bayes", "write \"sweep: {method: tpe}\""});
  for (const char* value : {"sobol", "halton", "qmc"}) {
    names.push_back({"method", value, "write \"sweep: {method: quasi_random}\""});
  }
  for (const char* value : {"hyperband", "successive_halving"}) {
    names.push_back({"kind", value, "write \"sweep: {stopping: {kind: asha, minimum_steps: …}}\""});
  }
  return names;
}

}  // namespace dormer::sweep
