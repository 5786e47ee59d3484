#pragma once

#include <cstdint>

#include "dormer/kernels/host_device.hpp"

/// A team computes one row: its lanes share the row's elements, element i belongs to lane i mod lanes. A team offers
///
///   each(count, f)       f(i) for every i below count
///   sum(count, f)        the sum of f(i): fp32 per lane, lanes added as a tree of neighbours
///   long_sum(count, f)   the same for long rows: fp32 over 64 elements of a lane, beyond them fp64
///   exact_sum(count, f)  fp64 throughout
///   maximum(count, f)    the largest f(i), -infinity for none
///   once(f)              f() by one lane
///
/// Every lane gets the result. On a GPU lanes run at the same time: sums and maxima are barriers (what a lane did
/// before them, all lanes see after them), `each` and `once` are not. So elements that one `each` writes may be read
/// before a sum, or in the same `each` by the same i, and nowhere else.
namespace dormer::kernels {

constexpr std::int64_t kLongSumRun = 64;  ///< elements of a lane that are added in fp32

/// What one lane of a team adds, shared by all teams; `f` may write.
template <typename Function>
DORMER_HOST_DEVICE inline float lane_part(std::int64_t lane, std::int64_t lanes, std::int64_t count,
                                          const Function& f) {
  float sum = 0.0F;
  for (std::int64_t i = lane; i < count; i += lanes) {
    sum += f(i);
  }
  return sum;
}

template <typename Function>
DORMER_HOST_DEVICE inline double lane_long_part(std::int64_t lane, std::int64_t lanes, std::int64_t count,
                                                const Function& f) {
  double sum = 0.0;
  std::int64_t i = lane;
  while (i < count) {
    const std::int64_t end = i + kLongSumRun * lanes < count ? i + kLongSumRun * lanes : count;
    float run = 0.0F;
    for (; i < end; i += lanes) {
      run += f(i);
    }
    sum += static_cast<double>(run);
  }
  return sum;
}

template <typename Function>
DORMER_HOST_DEVICE inline double lane_exact_part(std::int64_t lane, std::int64_t lanes, std::int64_t count,
                                                 const Function& f) {
  double sum = 0.0;
  for (std::int64_t i = lane; i < count; i += lanes) {
    sum += f(i);
  }
  return sum;
}

template <typename Function>
DORMER_HOST_DEVICE inline float lane_maximum(std::int64_t lane, std::int64_t lanes, std::int64_t count,
                                             const Function& f) {
  float maximum = -__builtin_inff();
  for (std::int64_t i = lane; i < count; i += lanes) {
    const float value = f(i);
    maximum = value > maximum ? value : maximum;
  }
  return maximum;
}

/// Lanes one after the other on one thread, a power of two of them; the bits are those of a GPU team of as many lanes.
/// One lane is a plain loop.
template <int kTeamLanes>
class SimulatedTeam {
 public:
  template <typename Function>
  void each(std::int64_t count, const Function& f) const {
    for (std::int64_t i = 0; i < count; ++i) {
      f(i);
    }
  }
  template <typename Function>
  float sum(std::int64_t count, const Function& f) const {
    return added<float>([&](std::int64_t lane) { return lane_part(lane, kTeamLanes, count, f); });
  }
  template <typename Function>
  double long_sum(std::int64_t count, const Function& f) const {
    return added<double>([&](std::int64_t lane) { return lane_long_part(lane, kTeamLanes, count, f); });
  }
  template <typename Function>
  double exact_sum(std::int64_t count, const Function& f) const {
    return added<double>([&](std::int64_t lane) { return lane_exact_part(lane, kTeamLanes, count, f); });
  }
  template <typename Function>
  float maximum(std::int64_t count, const Function& f) const {
    return lane_maximum(0, 1, count, f);
  }
  template <typename Function>
  void once(const Function& f) const {
    f();
  }

 private:
  template <typename Value, typename LanePart>
  Value added(const LanePart& part_of) const {
    Value parts[kTeamLanes];
    for (int lane = 0; lane < kTeamLanes; ++lane) {
      parts[lane] = part_of(lane);
    }
    for (int distance = 1; distance < kTeamLanes; distance *= 2) {
      for (int lane = 0; lane < kTeamLanes; lane += 2 * distance) {
        parts[lane] += parts[lane + distance];
      }
    }
    return parts[0];
  }
};

}  // namespace dormer::kernels
