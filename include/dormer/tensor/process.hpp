#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace dormer::tensor {

/// Prepares this process for training: threads of one product, allocator thresholds (freed activations stay with the
/// process instead of being faulted in again: 45% of the median on a CPU), deterministic algorithms. Call before any
/// tensor is made. A usage error for more threads than OMP_THREAD_LIMIT allows.
void configure_process(std::int64_t threads);

/// Whether LibTorch takes deterministic kernels where it has a choice, as `configure_process` asks for. On a CPU it has
/// none; on a GPU, additions to rows named by an index are faster without.
void set_deterministic_kernels(bool deterministic);

/// Calls `body(begin, end)` on disjoint parts of [0, count) from LibTorch's threads; parts are at least `grain` long.
/// What `body` computes must not depend on where parts end.
void for_parts(std::int64_t count, std::int64_t grain, const std::function<void(std::int64_t, std::int64_t)>& body);

/// Calls `body(index)` once for every index of [0, count), from LibTorch's threads as each gets free, with nothing
/// recorded; operations and kernels inside run on the thread that called them. For work on a CPU of which one item
/// writes nothing that another reads. The first error that an item throws is thrown here.
void for_items(std::int64_t count, const std::function<void(std::int64_t)>& body);

/// LibTorch's version and the instruction set that its kernels use: part of a run's fingerprint.
[[nodiscard]] std::string library_fingerprint();
/// Vendor, family and model of the CPU, as far as the bits depend on it.
[[nodiscard]] std::string cpu_fingerprint();
/// Whether the CPU multiplies bfloat16 natively (avx512_bf16 or amx_bf16).
[[nodiscard]] bool cpu_has_bfloat16();

}  // namespace dormer::tensor
