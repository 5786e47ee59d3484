#pragma once

#include <cstdint>

#include "dormer/core/random_key.hpp"

namespace dormer::data {

/// Which sample stands at a position of a run's endless sequence: epoch after epoch, each a permutation of all samples
/// keyed by (seed, epoch). A pure function of the position, so that where a run stands is one integer, whatever the
/// ranks are and wherever an update begins; updates may straddle epochs.
class SampleOrder {
 public:
  /// Without `shuffle` every epoch is 0, 1, 2, … `samples` must be positive.
  SampleOrder(std::int64_t samples, RandomKey seed, bool shuffle);

  [[nodiscard]] std::int64_t sample_at(std::int64_t position) const;
  [[nodiscard]] std::int64_t samples() const { return samples_; }

 private:
  [[nodiscard]] std::uint64_t permute(RandomKey key, std::uint64_t index) const;

  std::int64_t samples_;
  RandomKey seed_;
  bool shuffle_;
  int half_bits_;  ///< the Feistel network permutes numbers of twice as many bits
};

/// Updates that `epochs` passes over the data take: rounded up, at least one. Pure.
[[nodiscard]] std::int64_t updates_for_epochs(double epochs, std::int64_t samples, std::int64_t global_batch);

}  // namespace dormer::data
