#include "dormer/tensor/memory.hpp"

#include <atomic>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <new>
#include <string>

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

namespace dormer::tensor {
namespace {

/// Bytes now and at most. Packs of trials and exports may allocate from other threads than the one that trains.
struct Counter {
  std::atomic<std::int64_t> live{0};
  std::atomic<std::int64_t> peak{0};

  void add(std::int64_t bytes) {
    const std::int64_t now = live.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    std::int64_t before = peak.load(std::memory_order_relaxed);
    while (before < now && !peak.compare_exchange_weak(before, now, std::memory_order_relaxed)) {
    }
  }
  void remove(std::int64_t bytes) { live.fetch_sub(bytes, std::memory_order_relaxed); }
};

Counter host;
Counter shapes;

Counter& counter(TensorMemory where) {
  return where == TensorMemory::kHost ? host : shapes;
}

/// What stands before the memory of a tensor.
struct Header {
  std::int64_t offset;  ///< of the tensor's memory from the block that the C library gave
  std::int64_t bytes;   ///< as asked for
};
constexpr std::uintptr_t kAlignment = 64;  // LibTorch's own for CPU tensors
[[maybe_unused]] constexpr std::size_t kSlack = sizeof(Header) + kAlignment - 1;

/// An aligned part of a plain block: a freed block serves the next tensor of its size. Of the C library's aligned
/// allocation (before glibc 2.38) it does not, since that looks for a larger one first: heaps grew to twice their
/// tensors.
void* allocate_host(std::size_t bytes) {
#ifdef DORMER_SANITIZED  // the block ends with the tensor, so that what writes beyond it is seen
  void* aligned = nullptr;
  auto* block = ::posix_memalign(&aligned, kAlignment, bytes + kAlignment) == 0 ? static_cast<char*>(aligned) : nullptr;
  const std::int64_t offset = kAlignment;
#else
  auto* block = static_cast<char*>(std::malloc(bytes + kSlack));
  const auto start = reinterpret_cast<std::uintptr_t>(block);
  const auto offset = static_cast<std::int64_t>((start + kSlack) / kAlignment * kAlignment - start);
#endif
  if (block == nullptr) {
    return nullptr;
  }
  const Header header{offset, static_cast<std::int64_t>(bytes)};
  std::memcpy(block + offset - sizeof(Header), &header, sizeof(Header));
  return block + offset;
}

void release_host(void* memory) {
  if (memory == nullptr) {
    return;
  }
  Header header{};
  std::memcpy(&header, static_cast<char*>(memory) - sizeof(Header), sizeof(Header));
  host.remove(header.bytes);
  std::free(static_cast<char*>(memory) - header.offset);
}

/// The memory of CPU tensors, counted.
class HostAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    void* memory = bytes == 0 ? nullptr : allocate_host(bytes);
    if (memory != nullptr) {
      host.add(static_cast<std::int64_t>(bytes));
    } else if (bytes > 0) {
      c10::free_cpu(c10::alloc_cpu(bytes));  // throws LibTorch's own error
      throw std::bad_alloc();                // or finds memory that was not there a moment ago
    }
    return {memory, memory, &release_host, c10::Device(c10::DeviceType::CPU)};
  }
  [[nodiscard]] c10::DeleterFnPtr raw_deleter() const override { return &release_host; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { default_copy_data(to, from, bytes); }
};

void release_shapes(void* bytes) {
  shapes.remove(static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(bytes)));
}

/// Allocates nothing; the number of bytes takes the place of the context that the deleter gets.
class ShapesAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    shapes.add(static_cast<std::int64_t>(bytes));
    return {nullptr, reinterpret_cast<void*>(static_cast<std::uintptr_t>(bytes)), &release_shapes,
            c10::Device(c10::DeviceType::Meta)};
  }
  void copy_data(void* /*to*/, const void* /*from*/, std::size_t /*bytes*/) const override {}
};

}  // namespace

void count_memory() {
  static HostAllocator host_allocator;
  static ShapesAllocator shapes_allocator;
  constexpr std::uint8_t kAboveTheDefault = 1;
  c10::SetCPUAllocator(&host_allocator, kAboveTheDefault);
  c10::SetAllocator(c10::DeviceType::Meta, &shapes_allocator, kAboveTheDefault);
}

MemoryUse memory_use(TensorMemory where) {
  return {counter(where).live.load(std::memory_order_relaxed), counter(where).peak.load(std::memory_order_relaxed)};
}

void reset_peak_memory(TensorMemory where) {
  counter(where).peak.store(counter(where).live.load(std::memory_order_relaxed), std::memory_order_relaxed);
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
