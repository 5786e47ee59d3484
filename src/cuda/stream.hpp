#pragma once

#include <memory>

#include <cuda_runtime_api.h>

namespace dormer::cuda {

struct DestroyStream {
  void operator()(cudaStream_t stream) const noexcept { static_cast<void>(cudaStreamDestroy(stream)); }
};
struct DestroyEvent {
  void operator()(cudaEvent_t event) const noexcept { static_cast<void>(cudaEventDestroy(event)); }
};
struct FreeMemory {
  void operator()(void* memory) const noexcept { static_cast<void>(cudaFree(memory)); }
};

/// Owners. None of them waits for the device when it ends.
using Stream = std::unique_ptr<CUstream_st, DestroyStream>;
using Event = std::unique_ptr<CUevent_st, DestroyEvent>;
using DeviceMemory = std::unique_ptr<void, FreeMemory>;

/// A stream that orders itself with others by events alone.
[[nodiscard]] Stream make_stream();
/// An event without a time.
[[nodiscard]] Event make_event();
[[nodiscard]] DeviceMemory allocate(std::size_t bytes);

}  // namespace dormer::cuda
