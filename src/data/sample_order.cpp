#include "dormer/data/sample_order.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "dormer/core/error.hpp"

namespace dormer::data {
namespace {

constexpr int kRounds = 8;

}  // namespace

SampleOrder::SampleOrder(std::int64_t samples, RandomKey seed, bool shuffle)
    : samples_(samples), seed_(seed.child("sample order")), shuffle_(shuffle), half_bits_(0) {
  invariant(samples > 0, "an order needs samples, got {}", samples);
  const auto bits = static_cast<int>(std::bit_width(static_cast<std::uint64_t>(samples - 1)));
  half_bits_ = std::max((bits + 1) / 2, 1);
}

std::int64_t SampleOrder::sample_at(std::int64_t position) const {
  invariant(position >= 0, "position {} lies before the run's first sample", position);
  const std::int64_t epoch = position / samples_;
  const std::int64_t index = position % samples_;
  if (!shuffle_) {
    return index;
  }
  return static_cast<std::int64_t>(
      permute(seed_.child(static_cast<std::uint64_t>(epoch)), static_cast<std::uint64_t>(index)));
}

// A Feistel network is a permutation of a power of two that holds the samples; walking its cycle until a number below
// `samples_` comes up makes it a permutation of the samples. The power is below 4 times the samples: few steps.
std::uint64_t SampleOrder::permute(RandomKey key, std::uint64_t index) const {
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  do {
    std::uint64_t left = index >> half_bits_;
    std::uint64_t right = index & mask;
    for (std::uint64_t round = 0; round < kRounds; ++round) {
      const std::uint64_t mixed = philox(key.child(round), right)[0] & mask;
      left = std::exchange(right, left ^ mixed);
    }
    index = (left << half_bits_) | right;
  } while (index >= static_cast<std::uint64_t>(samples_));
  return index;
}

std::int64_t updates_for_epochs(double epochs, std::int64_t samples, std::int64_t global_batch) {
  const double updates = std::ceil(epochs * static_cast<double>(samples) / static_cast<double>(global_batch));
  return std::max<std::int64_t>(static_cast<std::int64_t>(updates), 1);
}

}  // namespace dormer::data
