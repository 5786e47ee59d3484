#include "simulated_gpu/device_memory.hpp"

#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

#include <sys/mman.h>

#include "dormer/core/error.hpp"

namespace dormer::testing {
namespace {

constexpr std::size_t kReserved = std::size_t{2} << 30;
constexpr std::size_t kPage = 4'096;
constexpr std::size_t kAlignment = 512;  // as LibTorch's GPU allocator

/// One range of addresses: blocks are cut from its front and used again for requests of the same size.
class Arena {
 public:
  Arena() : begin_(mmap(nullptr, kReserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
    invariant(begin_ != MAP_FAILED, "no address range for the simulated GPUs");
  }

  void* allocate(std::size_t bytes) {
    const std::scoped_lock lock(mutex_);
    const std::size_t size = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    std::vector<std::size_t>& free = free_[size];
    std::size_t offset = end_;
    if (!free.empty()) {
      offset = free.back();
      free.pop_back();
    } else {
      end_ += size;
      invariant(end_ <= kReserved, "the simulated GPUs' memory is full");
      protect();
    }
    sizes_[offset] = size;
    in_use_ += size;
    return static_cast<std::byte*>(begin_) + offset;
  }

  void free(void* memory) {
    const std::scoped_lock lock(mutex_);
    const auto offset = static_cast<std::size_t>(static_cast<std::byte*>(memory) - static_cast<std::byte*>(begin_));
    const auto found = sizes_.find(offset);
    in_use_ -= found->second;
    free_[found->second].push_back(offset);
    sizes_.erase(found);
  }

  void open(int by) {
    const std::scoped_lock lock(mutex_);
    const bool was_open = open_ > 0;
    open_ += by;
    if (was_open != (open_ > 0)) {
      protect();
    }
  }

  std::size_t in_use() {
    const std::scoped_lock lock(mutex_);
    return in_use_;
  }

 private:
  void protect() {
    const std::size_t used = (end_ + kPage - 1) / kPage * kPage;
    if (used > 0 && mprotect(begin_, used, open_ > 0 ? PROT_READ | PROT_WRITE : PROT_NONE) != 0) {
      std::abort();  // called from destructors
    }
  }

  std::mutex mutex_;
  void* begin_;
  std::size_t end_ = 0;
  std::size_t in_use_ = 0;
  int open_ = 0;
  std::map<std::size_t, std::vector<std::size_t>> free_;
  std::map<std::size_t, std::size_t> sizes_;
};

Arena& arena() {
  static auto* const the_arena = new Arena;  // LibTorch frees tensors after destructors of statics
  return *the_arena;
}

}  // namespace

void* allocate_device_memory(std::size_t bytes) {
  return arena().allocate(bytes);
}
void free_device_memory(void* memory) {
  arena().free(memory);
}
std::size_t device_memory_in_use() {
  return arena().in_use();
}
DeviceMemoryOpened::DeviceMemoryOpened() {
  arena().open(1);
}
DeviceMemoryOpened::~DeviceMemoryOpened() {
  arena().open(-1);
}

}  // namespace dormer::testing
