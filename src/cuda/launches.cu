#include "cuda/launch.hpp"

#include <cstdint>
#include <type_traits>

#include "cuda/teams.cuh"
#include "dormer/kernels/elements.hpp"
#include "dormer/kernels/operation_list.hpp"
#include "dormer/kernels/team_rows.hpp"

namespace dormer::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kElementsPerThread = 4;          // loads in flight
constexpr int kColumnLanes = 16;               // threads that share the rows of one column
constexpr std::int64_t kWarpElements = 1'024;  // rows up to this long are computed by a warp, longer ones by a block

template <typename Arguments>
__global__ void __launch_bounds__(kThreads) elements_kernel(const Arguments arguments, std::int64_t count) {
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kThreads * kElementsPerThread + threadIdx.x;
#pragma unroll
  for (int part = 0; part < kElementsPerThread; ++part) {
    const std::int64_t i = first + part * kThreads;
    if (i < count) {
      compute_element(arguments, i);
    }
  }
}

template <int kTeamLanes, typename Arguments>
__global__ void __launch_bounds__(kThreads) warps_kernel(const Arguments arguments, std::int64_t count) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * (kThreads / kTeamLanes) + threadIdx.x / kTeamLanes;
  if (row < count) {
    compute_row(arguments, row, WarpTeam<kTeamLanes>());
  }
}

template <typename Arguments>
__global__ void __launch_bounds__(kThreads) blocks_kernel(const Arguments arguments) {
  compute_row(arguments, static_cast<std::int64_t>(blockIdx.x), BlockTeam<kThreads>());
}

template <typename Arguments>
__global__ void __launch_bounds__(32 * kColumnLanes) columns_kernel(const Arguments arguments, std::int64_t count) {
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * 32 + threadIdx.x;
  compute_row(arguments, column < count ? column : count - 1, ColumnTeam<kColumnLanes>(column < count));
}

/// Elements of a row, where rows may be short or long.
template <typename Arguments>
std::int64_t row_length(const Arguments& arguments) {
  if constexpr (requires { arguments.heads_per_group; }) {
    return arguments.groups * arguments.heads_per_group * arguments.width / 2;
  } else if constexpr (requires { arguments.width; }) {
    return arguments.width;
  } else if constexpr (requires { arguments.keys; }) {
    return arguments.keys;
  } else {
    return arguments.vocabulary;
  }
}

template <typename Arguments>
constexpr bool kByColumns = requires(Arguments arguments) {
  arguments.product_sums;
};

unsigned blocks_for(std::int64_t count, std::int64_t per_block) {
  return static_cast<unsigned>((count + per_block - 1) / per_block);
}

}  // namespace

template <typename Arguments>
cudaError_t launch(const Arguments& arguments, std::int64_t count, cudaStream_t stream) {
  if constexpr (kernels::ElementOperation<Arguments>) {
    elements_kernel<<<blocks_for(count, kThreads * kElementsPerThread), kThreads, 0, stream>>>(arguments, count);
  } else if constexpr (std::is_same_v<Arguments, kernels::SquaredBlocksArguments>) {
    constexpr int kLanes = static_cast<int>(Arguments::kLanes);  // they are the order of the sum
    warps_kernel<kLanes><<<blocks_for(count, kThreads / kLanes), kThreads, 0, stream>>>(arguments, count);
  } else if constexpr (kByColumns<Arguments>) {
    columns_kernel<<<blocks_for(count, 32), dim3(32, kColumnLanes), 0, stream>>>(arguments, count);
  } else if (row_length(arguments) <= kWarpElements) {
    warps_kernel<32><<<blocks_for(count, kThreads / 32), kThreads, 0, stream>>>(arguments, count);
  } else {
    blocks_kernel<<<blocks_for(count, 1), kThreads, 0, stream>>>(arguments);
  }
  return cudaGetLastError();
}

namespace {

/// Names every launch, so that the compiler emits them all.
template <typename... Arguments>
struct Emitted;
template <typename... Arguments>
struct Emitted<kernels::OperationList<Arguments...>> {
  static void all(void (*use)(const void*)) { (use(reinterpret_cast<const void*>(&launch<Arguments>)), ...); }
};

}  // namespace

void emit_launches(void (*use)(const void*)) {
  Emitted<kernels::EveryOperation>::all(use);
}

}  // namespace dormer::cuda
