#pragma once

#include <cstdint>

#include "dormer/kernels/team.hpp"

/// Teams of dormer/kernels/team.hpp as a GPU has them. Each adds its lanes as a tree of neighbours, like SimulatedTeam.
namespace dormer::cuda {

/// `kTeamLanes` neighbours of one warp: 32, or a smaller power of two so that a warp holds several teams.
template <int kTeamLanes>
class WarpTeam {
 public:
  static_assert(kTeamLanes <= 32 && 32 % kTeamLanes == 0);

  __device__ WarpTeam()
      : lane_(static_cast<int>(threadIdx.x) % kTeamLanes),
        mask_((0xFFFFFFFFU >> (32 - kTeamLanes)) << (threadIdx.x % 32 / kTeamLanes * kTeamLanes)) {}

  template <typename Function>
  __device__ void each(std::int64_t count, const Function& f) const {
    for (std::int64_t i = lane_; i < count; i += kTeamLanes) {
      f(i);
    }
  }
  template <typename Function>
  __device__ float sum(std::int64_t count, const Function& f) const {
    return added(kernels::lane_part(lane_, kTeamLanes, count, f));
  }
  template <typename Function>
  __device__ double long_sum(std::int64_t count, const Function& f) const {
    return added(kernels::lane_long_part(lane_, kTeamLanes, count, f));
  }
  template <typename Function>
  __device__ double exact_sum(std::int64_t count, const Function& f) const {
    return added(kernels::lane_exact_part(lane_, kTeamLanes, count, f));
  }
  template <typename Function>
  __device__ float maximum(std::int64_t count, const Function& f) const {
    float value = kernels::lane_maximum(lane_, kTeamLanes, count, f);
    for (int distance = 1; distance < kTeamLanes; distance *= 2) {
      const float other = __shfl_xor_sync(mask_, value, distance);
      value = other > value ? other : value;
    }
    __syncwarp(mask_);
    return value;
  }
  template <typename Function>
  __device__ void once(const Function& f) const {
    if (lane_ == 0) {
      f();
    }
  }

 private:
  template <typename Value>
  __device__ Value added(Value value) const {
    for (int distance = 1; distance < kTeamLanes; distance *= 2) {
      value += __shfl_xor_sync(mask_, value, distance);
    }
    __syncwarp(mask_);  // a shuffle alone orders no memory
    return value;
  }

  int lane_;
  unsigned mask_;
};

/// All `kThreads` of a block.
template <int kThreads>
class BlockTeam {
 public:
  static constexpr int kWarps = kThreads / 32;

  template <typename Function>
  __device__ void each(std::int64_t count, const Function& f) const {
    for (std::int64_t i = threadIdx.x; i < count; i += kThreads) {
      f(i);
    }
  }
  template <typename Function>
  __device__ float sum(std::int64_t count, const Function& f) const {
    return added(kernels::lane_part(threadIdx.x, kThreads, count, f));
  }
  template <typename Function>
  __device__ double long_sum(std::int64_t count, const Function& f) const {
    return added(kernels::lane_long_part(threadIdx.x, kThreads, count, f));
  }
  template <typename Function>
  __device__ double exact_sum(std::int64_t count, const Function& f) const {
    return added(kernels::lane_exact_part(threadIdx.x, kThreads, count, f));
  }
  template <typename Function>
  __device__ float maximum(std::int64_t count, const Function& f) const {
    const auto larger = [](float a, float b) { return b > a ? b : a; };
    return folded(kernels::lane_maximum(threadIdx.x, kThreads, count, f), larger);
  }
  template <typename Function>
  __device__ void once(const Function& f) const {
    if (threadIdx.x == 0) {
      f();
    }
  }

 private:
  template <typename Value>
  __device__ Value added(Value value) const {
    return folded(value, [](Value a, Value b) { return a + b; });
  }

  template <typename Value, typename Fold>
  __device__ Value folded(Value value, const Fold& fold) const {
    __shared__ Value of_warps[kWarps];
    for (int distance = 1; distance < 32; distance *= 2) {
      value = fold(value, __shfl_xor_sync(0xFFFFFFFFU, value, distance));
    }
    if (threadIdx.x % 32 == 0) {
      of_warps[threadIdx.x / 32] = value;
    }
    __syncthreads();
    value = of_warps[threadIdx.x % kWarps];
    for (int distance = 1; distance < kWarps; distance *= 2) {
      value = fold(value, __shfl_xor_sync(0xFFFFFFFFU, value, distance));
    }
    __syncthreads();  // before the next fold writes
    return value;
  }
};

/// The `kTeamLanes` threads of one column of a block of 32 columns; neighbours in x are neighbouring columns. A column
/// beyond the last takes part in the barriers and in nothing else.
template <int kTeamLanes>
class ColumnTeam {
 public:
  __device__ explicit ColumnTeam(bool active) : active_(active) {}

  template <typename Function>
  __device__ double long_sum(std::int64_t count, const Function& f) const {
    __shared__ double parts[kTeamLanes][32];
    double& own = parts[threadIdx.y][threadIdx.x];
    own = kernels::lane_long_part(threadIdx.y, kTeamLanes, active_ ? count : 0, f);
    __syncthreads();
    for (int distance = 1; distance < kTeamLanes; distance *= 2) {
      if (threadIdx.y % (2 * distance) == 0) {
        own += parts[threadIdx.y + distance][threadIdx.x];
      }
      __syncthreads();
    }
    return parts[0][threadIdx.x];
  }
  template <typename Function>
  __device__ void once(const Function& f) const {
    if (active_ && threadIdx.y == 0) {
      f();
    }
  }

 private:
  bool active_;
};

}  // namespace dormer::cuda
