#include "dormer/model/noise_schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "dormer/core/error.hpp"

namespace dormer::model {
namespace {

/// `count` numbers from `first` to `last`.
std::vector<double> line(double first, double last, std::int64_t count) {
  std::vector<double> values(static_cast<std::size_t>(count), first);
  for (std::size_t index = 1; index < values.size(); ++index) {
    values[index] = first + (last - first) * static_cast<double>(index) / static_cast<double>(count - 1);
  }
  return values;
}

/// Nichol & Dhariwal 2021: the signal falls like a squared cosine, and no step takes all of it.
std::vector<double> cosine_betas(std::int64_t count) {
  constexpr double kOffset = 0.008;
  constexpr double kLargest = 0.999;
  const auto left = [&](double share) {
    const double angle = (share + kOffset) / (1.0 + kOffset) * std::numbers::pi / 2.0;
    return std::cos(angle) * std::cos(angle);
  };
  std::vector<double> betas;
  for (std::int64_t step = 0; step < count; ++step) {
    const double begin = static_cast<double>(step) / static_cast<double>(count);
    const double end = static_cast<double>(step + 1) / static_cast<double>(count);
    betas.push_back(std::min(1.0 - left(end) / left(begin), kLargest));
  }
  return betas;
}

std::vector<double> betas_of(const NoiseFacts& facts) {
  if (facts.betas == "squaredcos_cap_v2") {
    return cosine_betas(facts.steps);
  }
  if (facts.betas == "linear") {
    return line(facts.first_beta, facts.last_beta, facts.steps);
  }
  invariant(facts.betas == "scaled_linear", "unknown betas {}", facts.betas);
  std::vector<double> betas = line(std::sqrt(facts.first_beta), std::sqrt(facts.last_beta), facts.steps);
  std::ranges::transform(betas, betas.begin(), [](double root) { return root * root; });
  return betas;
}

}  // namespace

NoiseSchedule::NoiseSchedule(const NoiseFacts& facts, bool zero_terminal_snr) {
  if (facts.prediction == "flow") {
    flow_ = true;
    shift_ = facts.shift;
    for (std::int64_t step = 1; step <= facts.steps; ++step) {
      const double plain = static_cast<double>(step) / static_cast<double>(facts.steps);
      noise_.push_back(shift_ * plain / (1.0 + (shift_ - 1.0) * plain));
      signal_.push_back(1.0 - noise_.back());
    }
    return;
  }
  double left = 1.0;
  for (const double beta : betas_of(facts)) {
    left *= 1.0 - beta;
    signal_.push_back(std::sqrt(left));
  }
  if (zero_terminal_snr || facts.zero_terminal_snr) {
    const double first = signal_.front();
    const double last = signal_.back();
    for (double& value : signal_) {
      value = (value - last) * first / (first - last);
    }
  }
  for (const double value : signal_) {
    noise_.push_back(std::sqrt(1.0 - value * value));
  }
}

double NoiseSchedule::signal_to_noise(std::int64_t step) const {
  const double ratio = signal(step) / noise(step);
  return ratio * ratio;
}

}  // namespace dormer::model
