#include "sweep/made_sweep.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

namespace dormer::sweep {
namespace {

constexpr std::array<std::int64_t, 3> kRungs{20, 60, 180};
constexpr std::int64_t kSteps = 540;
constexpr std::int64_t kWorkers = 4;

/// A fixed number in [0, 1) for each pair.
double spread(std::int64_t number, std::int64_t stream) {
  const double turn = 0.754877666246693 * static_cast<double>(number) + 0.569840290998053 * static_cast<double>(stream);
  const double mixed = 43758.5453 * std::sin(12.9898 * turn + 78.233 * static_cast<double>(stream + 1));
  return mixed - std::floor(mixed);
}

struct Chosen {
  double learning_rate = 0.0;
  std::int64_t rank = 0;
  bool dora = false;
  double dropout = 0.0;
  std::string schedule;
};

Chosen chosen(std::int64_t point) {
  Chosen result;
  result.learning_rate = std::pow(10.0, -5.0 + 2.4 * spread(point, 0));
  result.rank = std::int64_t{4} << static_cast<std::int64_t>(4.0 * spread(point, 1));
  result.dora = spread(point, 2) < 0.6;
  result.dropout = 0.01 * std::round(20.0 * spread(point, 3));
  result.schedule = std::array<const char*, 3>{"constant", "cosine", "inverse_sqrt"}.at(
      static_cast<std::size_t>(3.0 * spread(point, 4)));
  return result;
}

/// Best near a learning rate of 3e-4, a little better with DoRA and large ranks, noise by seed.
double value_at(const Chosen& point, std::int64_t number, std::int64_t step) {
  const double off = std::log10(point.learning_rate / 3e-4);
  const double last = 2.05 + 0.30 * off * off - (point.dora ? 0.05 : 0.0) -
                      0.015 * std::log2(static_cast<double>(point.rank)) + 0.012 * (spread(number, 7) - 0.5);
  const double speed = 25.0 + 60.0 * std::max(0.0, -off);
  const double wobble = 0.01 * (spread(number, 100 + step) - 0.5);
  return last + 1.4 * std::exp(-static_cast<double>(step) / speed) + wobble;
}

Point settings_of(const Chosen& point, bool by_input) {
  Point settings{{"optimizer.learning_rate", fmt::format("{:.3g}", point.learning_rate)},
                 {"adapter.rank", fmt::format("{}", point.rank)},
                 {"adapter.alpha", fmt::format("{}", 2 * point.rank)},
                 {"method", point.dora ? "dora" : "lora"}};
  if (point.dora) {
    settings.push_back({"adapter.decompose.axis", by_input ? "input" : "output"});
  }
  settings.push_back({"adapter.dropout", fmt::format("{:.2f}", point.dropout)});
  settings.push_back({"schedule.kind", point.schedule});
  return settings;
}

TrialRecord made_trial(std::int64_t number) {
  TrialRecord trial;
  trial.number = number;
  trial.point = number / 2;
  trial.replica = number % 2;
  trial.worker = fmt::format("node{}:{}", number % kWorkers / 2 + 1, number % 2);
  const Chosen point = chosen(trial.point);
  trial.settings = settings_of(point, spread(trial.point, 5) < 0.5);
  trial.state = TrialState::kComplete;
  std::int64_t last = kSteps;
  const bool diverged = point.learning_rate > 1.9e-3;
  const double off = std::abs(std::log10(point.learning_rate / 3e-4));
  if (diverged) {
    trial.state = TrialState::kFailed;
    trial.reason = "the loss was not finite at update 12; a smaller optimizer.learning_rate may help";
    last = number % 3 == 0 ? 20 : 0;
  } else if (off > 0.35) {
    trial.state = TrialState::kStopped;
    last = kRungs.at(off > 1.0 ? 0 : off > 0.6 ? 1 : 2);
    trial.reason = fmt::format("not in the best quarter at update {}", last);
  } else if (number % 29 == 28) {
    trial.state = TrialState::kRunning;
    last = 180;
  }
  for (std::int64_t step = 20; step <= last; step += 20) {
    const double value = diverged ? 9.0 + spread(number, 8) : value_at(point, number, step);
    const double seconds = (point.dora ? 2.0 : 1.9) * static_cast<double>(step) + 20.0 * spread(number, 9);
    trial.measurements.push_back({step, std::round(value * 1e5) / 1e5, seconds});
  }
  return trial;
}

TrialFacts facts_of(const TrialRecord& trial) {
  const std::int64_t rank = std::stol(*setting_of(trial.settings, "adapter.rank"));
  TrialFacts facts;
  facts.number = trial.number;
  facts.parameters = 724'992 / 4 * rank;
  facts.command = "dormer train sweeps/quick/base.yaml";
  for (const Setting& setting : trial.settings) {
    facts.command += fmt::format(" --set {}={}", setting.path, setting.text);
  }
  facts.command += fmt::format(" --set run.seed={} --set run.directory=runs/again", 7 + trial.replica);
  return facts;
}

std::vector<report::WorkerSpan> timeline_of(const std::vector<TrialRecord>& trials) {
  std::vector<report::WorkerSpan> spans;
  std::array<double, static_cast<std::size_t>(kWorkers)> clocks{};
  for (const TrialRecord& trial : trials) {
    double& clock = clocks.at(static_cast<std::size_t>(trial.number % kWorkers));
    const double seconds = trial.seconds() + 12.0;
    spans.push_back({trial.worker, trial.number, clock, clock + seconds});
    clock += seconds + 3.0;
  }
  return spans;
}

/// A PNG of one pixel.
report::SampleImage sample() {
  constexpr std::array<unsigned char, 69> kPicture{
      0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A, 0x00, 0x00, 0x00, 0x0D, 0x49, 0x48, 0x44, 0x52, 0x00, 0x00,
      0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x02, 0x00, 0x00, 0x00, 0x90, 0x77, 0x53, 0xDE, 0x00, 0x00, 0x00,
      0x0C, 0x49, 0x44, 0x41, 0x54, 0x78, 0x9C, 0x63, 0xD8, 0xE1, 0xC5, 0x00, 0x00, 0x02, 0xC0, 0x01, 0x03, 0x44,
      0x13, 0x85, 0x27, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4E, 0x44, 0xAE, 0x42, 0x60, 0x82};
  return {"a teapot", "image/png", std::string(kPicture.begin(), kPicture.end())};
}

}  // namespace

MadeSweep made_sweep(std::int64_t points) {
  MadeSweep sweep;
  for (std::int64_t number = 0; number < 2 * points; ++number) {
    sweep.trials.push_back(made_trial(number));
    sweep.trial_facts.push_back(facts_of(sweep.trials.back()));
  }
  if (!sweep.trials.empty()) {
    sweep.trial_facts.front().images = {sample()};
  }
  sweep.facts = {
      .name = "quick",
      .state = fmt::format("{} points under 2 seeds, halving at updates 20, 60 and 180", points),
      .metric = "validation_loss",
      .total_steps = kSteps,
      .rungs = {kRungs.begin(), kRungs.end()},
      .parameters = {{"optimizer.learning_rate", ParameterKind::kLog},
                     {"adapter.rank", ParameterKind::kChoice},
                     {"adapter.alpha", ParameterKind::kLog},
                     {"method", ParameterKind::kChoice},
                     {"adapter.decompose.axis", ParameterKind::kChoice},
                     {"adapter.dropout", ParameterKind::kNumeric},
                     {"schedule.kind", ParameterKind::kChoice}},
      .facts = {{"program", "dormer 0.1.0"}, {"method", "tpe"}, {"seed", "7"}},
      .config = {{"model.path", "models/smollm2-135m"}, {"data.train", "data/train.h5"}, {"run.steps", "540"}},
      .timeline = timeline_of(sweep.trials)};
  return sweep;
}

report::SweepRecord MadeSweep::record() const {
  return sweep_record(trials, trial_facts, facts);
}

}  // namespace dormer::sweep
