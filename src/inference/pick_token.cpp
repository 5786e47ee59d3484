#include "inference/pick_token.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "dormer/core/error.hpp"

namespace dormer::inference {
namespace {

std::size_t likeliest(std::span<const float> logits) {
  std::size_t best = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    require(!std::isnan(logits[i]), Fault::kNumerical,
            "the logit of token {} is not a number: the adapter or the model's weights are damaged", i);
    if (logits[i] > logits[best]) {
      best = i;
    }
  }
  require(std::isfinite(logits[best]), Fault::kNumerical,
          "the largest logit is {}: the adapter or the model's weights are damaged", logits[best]);
  return best;
}

/// exp((logit - largest) / temperature); sums are taken in double, in index order or in order of rank.
std::vector<double> weights_of(std::span<const float> logits, float largest, double temperature) {
  std::vector<double> weights(logits.size());
  std::ranges::transform(logits, weights.begin(), [&](float logit) {
    return std::exp((static_cast<double>(logit) - static_cast<double>(largest)) / temperature);
  });
  return weights;
}

double sum_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

/// Token indices from the likeliest down, until their weights reach `top_p` of all.
std::vector<std::size_t> nucleus(const std::vector<double>& weights, double top_p) {
  std::vector<std::size_t> ranked(weights.size());
  std::iota(ranked.begin(), ranked.end(), std::size_t{0});
  std::ranges::stable_sort(ranked, [&](std::size_t a, std::size_t b) { return weights[a] > weights[b]; });
  const double wanted = top_p * sum_of(weights);
  double reached = 0.0;
  std::size_t count = 0;
  while (count < ranked.size() && (count == 0 || reached < wanted)) {
    reached += weights[ranked[count]];
    ++count;
  }
  ranked.resize(count);
  return ranked;
}

std::size_t draw(const std::vector<double>& weights, const std::vector<std::size_t>& candidates, std::uint32_t word) {
  double mass = 0.0;
  for (const std::size_t candidate : candidates) {
    mass += weights[candidate];
  }
  const double target = static_cast<double>(word) * 0x1p-32 * mass;
  double passed = 0.0;
  for (const std::size_t candidate : candidates) {
    passed += weights[candidate];
    if (target < passed) {
      return candidate;
    }
  }
  return candidates.back();
}

}  // namespace

PickedToken pick_token(std::span<const float> logits, const Sampling& sampling, std::uint32_t word) {
  invariant(!logits.empty(), "no logits to pick from");
  const std::size_t best = likeliest(logits);
  const std::vector<double> plain = weights_of(logits, logits[best], 1.0);
  std::size_t picked = best;
  if (sampling.temperature > 0.0) {
    const std::vector<double> weights =
        sampling.temperature == 1.0 ? plain : weights_of(logits, logits[best], sampling.temperature);
    picked = draw(weights, nucleus(weights, sampling.top_p), word);
  }
  const double distance = static_cast<double>(logits[picked]) - static_cast<double>(logits[best]);
  return {.token = static_cast<std::int64_t>(picked), .log_probability = distance - std::log(sum_of(plain))};
}

}  // namespace dormer::inference
