#include "dormer/tensor/memory.hpp"

#include <atomic>
#include <charconv>
#include <fstream>
#include <string>

#include <malloc.h>

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

namespace dormer::tensor {
namespace {

// Packs of trials and exports may allocate from other threads than the one that trains.
std::atomic<std::int64_t> live_bytes{0};
std::atomic<std::int64_t> peak_bytes{0};

void release(void* memory) {
  live_bytes.fetch_sub(static_cast<std::int64_t>(malloc_usable_size(memory)), std::memory_order_relaxed);
  c10::free_cpu(memory);
}

/// LibTorch's own allocation, counted. The size of a block is asked of the C library, so that blocks carry no header.
class CountingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    void* memory = c10::alloc_cpu(bytes);
    if (memory != nullptr) {
      const auto size = static_cast<std::int64_t>(malloc_usable_size(memory));
      const std::int64_t now = live_bytes.fetch_add(size, std::memory_order_relaxed) + size;
      std::int64_t peak = peak_bytes.load(std::memory_order_relaxed);
      while (peak < now && !peak_bytes.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
      }
    }
    return {memory, memory, &release, c10::Device(c10::DeviceType::CPU)};
  }
  [[nodiscard]] c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { default_copy_data(to, from, bytes); }
};

}  // namespace

void count_memory() {
  static CountingAllocator allocator;
  constexpr std::uint8_t kAboveTheDefault = 1;
  c10::SetCPUAllocator(&allocator, kAboveTheDefault);
}

MemoryUse memory_use() {
  return {live_bytes.load(std::memory_order_relaxed), peak_bytes.load(std::memory_order_relaxed)};
}

void reset_peak_memory() {
  peak_bytes.store(live_bytes.load(std::memory_order_relaxed), std::memory_order_relaxed);
}

std::int64_t peak_resident_bytes() {
  std::ifstream status("/proc/self/status");
  const std::string key = "VmHWM:";
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key)) {
      const std::size_t first = line.find_first_not_of(" \t", key.size());
      std::int64_t kibibytes = 0;
      if (first != std::string::npos) {
        std::from_chars(line.data() + first, line.data() + line.size(), kibibytes);
      }
      return kibibytes * 1024;
    }
  }
  return 0;
}

}  // namespace dormer::tensor
