#include "sweep/parzen.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "sweep/draw.hpp"

namespace dormer::sweep {
namespace {

constexpr std::size_t kFullWeight = 25;  // the newest, whose weight is 1
constexpr double kMostKernelsPerRange = 100.0;
constexpr double kPrior = -1.0;

/// The normal distribution's mass below z.
double below(double z) {
  return 0.5 * std::erfc(-z / std::numbers::sqrt2);
}

/// The mass between two bounds, on the side of zero where neither is near 1.
double mass(double low, double high) {
  return low > 0.0 ? below(-low) - below(-high) : below(high) - below(low);
}

/// The weight of each of `count` observations, the oldest first: a ramp from 1/count up to the newest.
std::vector<double> weights_of(std::size_t count) {
  std::vector<double> weights(count, 1.0);
  if (count <= kFullWeight) {
    return weights;
  }
  const std::size_t ramp = count - kFullWeight;
  const double first = 1.0 / static_cast<double>(count);
  for (std::size_t index = 0; index < ramp; ++index) {
    const double share = ramp == 1 ? 0.0 : static_cast<double>(index) / static_cast<double>(ramp - 1);
    weights[index] = first + share * (1.0 - first);
  }
  return weights;
}

/// Where the bell around zero, cut at the two bounds, has the share `unit` of its mass below. By halving: the bounds
/// lie on both sides of zero, so that the mass is never near nothing.
double cut_normal(double low, double high, double unit) {
  const double target = below(low) + unit * (below(high) - below(low));
  for (int round = 0; round < 64; ++round) {
    const double middle = 0.5 * (low + high);
    (below(middle) < target ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

}  // namespace

ParzenEstimator::ParzenEstimator(const Parameter& parameter, std::span<const double> observations)
    : parameter_(parameter) {
  const bool options = parameter.kind == Parameter::Kind::kOptions;
  std::vector<double> weights = weights_of(observations.size());
  const double total = std::accumulate(weights.begin(), weights.end(), 1.0);
  for (std::size_t index = 0; index < observations.size(); ++index) {
    kernels_.push_back(
        {.weight = weights[index] / total, .center = options ? observations[index] : scale(observations[index])});
  }
  if (options) {
    kernels_.push_back({.weight = 1.0 / total, .center = kPrior});
    return;
  }
  low_ = scale(parameter.low - parameter.step / 2);
  high_ = scale(parameter.high + parameter.step / 2);
  place_widths(kernels_);
  kernels_.push_back({.weight = 1.0 / total, .center = 0.5 * (low_ + high_), .width = high_ - low_});
  for (Kernel& kernel : kernels_) {
    kernel.log_mass = std::log(mass((low_ - kernel.center) / kernel.width, (high_ - kernel.center) / kernel.width));
  }
}

/// A kernel is as wide as the larger gap to its neighbours; those at both ends look inward alone.
void ParzenEstimator::place_widths(std::vector<Kernel>& kernels) const {
  std::vector<std::size_t> order(kernels.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](std::size_t index) { return kernels[index].center; });
  const double range = high_ - low_;
  const double narrowest = range / std::min(kMostKernelsPerRange, 2.0 + static_cast<double>(kernels.size()));
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    const double center = kernels[order[rank]].center;
    const bool first = rank == 0;
    const bool last = rank + 1 == order.size();
    const double left = center - (first ? low_ : kernels[order[rank - 1]].center);
    const double right = (last ? high_ : kernels[order[rank + 1]].center) - center;
    double width = std::max(left, right);
    if (kernels.size() > 1 && (first || last)) {
      width = first ? right : left;
    }
    kernels[order[rank]].width = std::clamp(width, narrowest, range);
  }
}

double ParzenEstimator::scale(double coordinate) const {
  return parameter_.logarithmic ? std::log(coordinate) : coordinate;
}

/// An observed option has one share, and all of them together one more, spread thinner the more there are.
double ParzenEstimator::share_of_option(const Kernel& kernel, double option) const {
  const auto count = static_cast<double>(parameter_.options.size());
  if (kernel.center == kPrior) {
    return 1.0 / count;
  }
  const double spread = 1.0 / static_cast<double>(kernels_.size());
  return (spread + (kernel.center == option ? 1.0 : 0.0)) / (count * spread + 1.0);
}

double ParzenEstimator::sample(RandomKey key) const {
  double rest = uniform(key, 0);
  std::size_t index = 0;
  while (index + 1 < kernels_.size() && rest >= kernels_[index].weight) {
    rest -= kernels_[index].weight;
    ++index;
  }
  const Kernel& kernel = kernels_[index];
  double unit = uniform(key, 1);
  if (parameter_.kind == Parameter::Kind::kOptions) {
    double option = 0.0;
    const auto last = static_cast<double>(parameter_.options.size() - 1);
    while (option < last && unit >= share_of_option(kernel, option)) {
      unit -= share_of_option(kernel, option);
      option += 1.0;
    }
    return option;
  }
  const double low = (low_ - kernel.center) / kernel.width;
  const double high = (high_ - kernel.center) / kernel.width;
  double value = kernel.center + kernel.width * cut_normal(low, high, unit);
  value = parameter_.logarithmic ? std::exp(value) : value;
  return parameter_.nearest(value);
}

double ParzenEstimator::log_density(double coordinate) const {
  std::vector<double> terms;
  for (const Kernel& kernel : kernels_) {
    double term = std::log(kernel.weight);
    if (parameter_.kind == Parameter::Kind::kOptions) {
      term += std::log(share_of_option(kernel, coordinate));
    } else if (parameter_.step > 0.0) {
      const double left = (scale(coordinate - parameter_.step / 2) - kernel.center) / kernel.width;
      const double right = (scale(coordinate + parameter_.step / 2) - kernel.center) / kernel.width;
      term += std::log(mass(left, right)) - kernel.log_mass;
    } else {
      const double z = (scale(coordinate) - kernel.center) / kernel.width;
      term += -0.5 * z * z - std::log(kernel.width * std::sqrt(2.0 * std::numbers::pi)) - kernel.log_mass;
    }
    terms.push_back(term);
  }
  const double largest = *std::ranges::max_element(terms);
  double sum = 0.0;
  for (const double term : terms) {
    sum += std::exp(term - largest);
  }
  return largest + std::log(sum);
}

}  // namespace dormer::sweep
