#pragma once

#include <nccl.h>

#include "dormer/comm/communicator.hpp"

/// NCCL and the CUDA runtime as far as the NCCL communicator calls them, on threads of this process and host memory. It
/// keeps the rules that the real ones keep: no call before the last one has settled, calls only inside of a group, work
/// only after the compute stream, and nothing happens on a stream until somebody waits for it.
namespace dormer::testing {

/// What goes wrong in this thread's rank.
struct NcclFaults {
  int polls_under_way = 3;                  ///< of "in progress" after each call
  ncclResult_t id_status = ncclSuccess;     ///< of ncclGetUniqueId
  ncclResult_t asynchronous = ncclSuccess;  ///< found by every poll
  bool kernels_hang = false;                ///< no event is ever done
};

struct NcclThread {
  comm::Communicator* ranks = nullptr;  ///< what carries the messages; of this thread
  NcclFaults faults;
  int aborted = 0;
};

/// Of this thread.
[[nodiscard]] NcclThread& nccl_thread();

}  // namespace dormer::testing
