#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include <nccl.h>

#include "dormer/comm/communicator.hpp"

namespace dormer::cuda {

/// One non-blocking `ncclComm_t`. Every call may be under way when it returns; `settle` waits for it, with a limit, and
/// turns what NCCL says then or later into an error that names call, rank and remedy.
class NcclLink {
 public:
  /// Rank 0 makes NCCL's id and spreads it over `rendezvous`; all ranks call, with their device selected.
  NcclLink(comm::Communicator& rendezvous, std::chrono::seconds limit);
  NcclLink(const NcclLink&) = delete;
  NcclLink& operator=(const NcclLink&) = delete;
  /// Frees nothing: that would communicate. `close` does, in order.
  ~NcclLink() = default;

  [[nodiscard]] ncclComm_t get() const { return comm_.load(); }
  /// Throws unless `status` is success or "in progress".
  void check(ncclResult_t status, std::string_view call) const;
  /// Waits until the call that was just made is no longer under way.
  void settle(ncclResult_t status, std::string_view call) const;
  /// Throws what has gone wrong since on this or another rank.
  void check_asynchronous(std::string_view call) const;
  /// Ends the communicator, together with all ranks.
  void close();
  /// Ends what is under way on this rank and returns, after a limit in any case. From any thread.
  void abort() noexcept;

 private:
  [[nodiscard]] std::string where() const;
  [[noreturn]] void fail_with(ncclResult_t status, std::string_view call) const;

  std::atomic<ncclComm_t> comm_{nullptr};
  int rank_;
  int size_;
  std::chrono::seconds limit_;
};

/// Calls `is_done` until it says yes, first without pause and then each millisecond. False: the limit has passed.
template <typename IsDone>
[[nodiscard]] bool wait_until(std::chrono::seconds limit, IsDone is_done);

/// Gives the core away, or sleeps once the wait is long.
void pause_between_polls(std::chrono::steady_clock::duration waited);

template <typename IsDone>
bool wait_until(std::chrono::seconds limit, IsDone is_done) {
  const auto begin = std::chrono::steady_clock::now();
  while (!is_done()) {
    const auto waited = std::chrono::steady_clock::now() - begin;
    if (waited >= limit) {
      return false;
    }
    pause_between_polls(waited);
  }
  return true;
}

}  // namespace dormer::cuda
