#include "cuda/nccl_on_threads.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include <cuda_runtime_api.h>

#include "cuda/devices.hpp"

using dormer::BufferView;
using dormer::ConstBufferView;
using dormer::DType;
using dormer::testing::nccl_thread;

// The types that CUDA and NCCL only name.
struct CUstream_st {
  std::thread::id owner = std::this_thread::get_id();
  std::deque<std::function<void()>> work;
  long submitted = 0;
  long finished = 0;
  bool after_compute = false;
  void run_until(long position) {
    for (; finished < position; ++finished) {
      work.front()();
      work.pop_front();
    }
  }
};
struct CUevent_st {
  cudaStream_t stream = nullptr;
  long position = 0;
};
struct ncclComm {
  dormer::comm::Communicator* ranks = nullptr;  // carries the messages
  int polls_left = 0;
  bool finalized = false;
};

namespace dormer::testing {
NcclThread& nccl_thread() {
  thread_local NcclThread thread;
  return thread;
}
}  // namespace dormer::testing

namespace dormer::cuda {
void* current_stream(int /*device*/) {
  return nullptr;  // the compute stream: the host's own order
}
}  // namespace dormer::cuda

namespace {

/// The calls of the group that this thread has open.
struct Group {
  int depth = 0;
  ncclComm* comm = nullptr;
  cudaStream_t stream = nullptr;
  std::vector<std::function<void()>> collectives;
  std::vector<dormer::comm::Send> sends;
  std::vector<dormer::comm::Receive> receives;
};

Group& group() {
  thread_local Group open;
  return open;
}

DType dtype_of(ncclDataType_t type) {
  switch (type) {
    case ncclInt8:
      return DType::kI8;
    case ncclInt32:
      return DType::kI32;
    case ncclUint32:
      return DType::kU32;
    case ncclInt64:
      return DType::kI64;
    case ncclUint64:
      return DType::kU64;
    case ncclFloat32:
      return DType::kF32;
    case ncclFloat64:
      return DType::kF64;
    default:
      return DType::kU8;
  }
}

dormer::comm::ReduceOp op_of(ncclRedOp_t op) {
  return op == ncclSum   ? dormer::comm::ReduceOp::kSum
         : op == ncclMin ? dormer::comm::ReduceOp::kMin
                         : dormer::comm::ReduceOp::kMax;
}

std::int64_t signed_count(std::size_t count) {
  return static_cast<std::int64_t>(count);
}

/// Takes part in the open group, if the rules allow it.
ncclResult_t join(ncclComm_t comm, cudaStream_t stream) {
  Group& open = group();
  if (open.depth == 0 || comm == nullptr || comm->polls_left > 0 || comm->finalized || !stream->after_compute) {
    return ncclInvalidUsage;
  }
  open.comm = comm;
  open.stream = stream;
  return ncclSuccess;
}

ncclResult_t join(ncclComm_t comm, cudaStream_t stream, std::function<void()> collective) {
  const ncclResult_t status = join(comm, stream);
  if (status == ncclSuccess) {
    group().collectives.push_back(std::move(collective));
  }
  return status;
}

ncclResult_t in_progress(ncclComm_t comm) {
  comm->polls_left = nccl_thread().faults.polls_under_way;
  return comm->polls_left > 0 ? ncclInProgress : ncclSuccess;
}

/// Every communicator that nobody destroyed yet. A link that failed frees nothing, since that would communicate: here
/// it stays reachable, and leak checkers know it.
class Living {
 public:
  ncclComm_t add(ncclComm_t comm) {
    const std::lock_guard lock(mutex_);
    comms_.insert(comm);
    return comm;
  }
  void destroy(ncclComm_t comm) {
    const std::lock_guard lock(mutex_);
    comms_.erase(comm);
    delete comm;
  }

 private:
  std::mutex mutex_;
  std::set<ncclComm_t> comms_;
};

Living& living() {
  static auto* const all = new Living;  // outlives every check
  return *all;
}

}  // namespace

extern "C" {

cudaError_t cudaSetDevice(int /*device*/) {
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaGetLastError() {
  return cudaSuccess;
}
const char* cudaGetErrorString(cudaError_t /*error*/) {
  return "an error";
}
const char* cudaGetErrorName(cudaError_t /*error*/) {
  return "cudaError";
}
cudaError_t cudaMalloc(void** memory, size_t bytes) {
  *memory = std::calloc(bytes, 1);
  return cudaSuccess;
}
cudaError_t cudaFree(void* memory) {
  std::free(memory);
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int /*flags*/) {
  *stream = new CUstream_st;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int /*flags*/) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  *event = {.stream = stream, .position = stream == nullptr ? 0 : stream->submitted};
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int /*flags*/) {
  if (event->stream != nullptr) {
    event->stream->run_until(event->position);
  } else if (stream != nullptr) {
    stream->after_compute = true;
  }
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (nccl_thread().faults.kernels_hang) {
    return cudaErrorNotReady;
  }
  if (event->stream == nullptr || event->stream->finished >= event->position) {
    return cudaSuccess;
  }
  thread_local int polls = 0;
  // Some time later; messages are carried by the rank's own thread.
  if (std::this_thread::get_id() == event->stream->owner && ++polls % 4 == 0) {
    event->stream->run_until(event->position);
    return cudaSuccess;
  }
  return cudaErrorNotReady;
}

const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclRemoteError ? "remote process exited" : "some error";
}
const char* ncclGetLastError(ncclComm_t /*comm*/) {
  return "what NCCL\nsays";
}
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  std::memset(id->internal, 0x5A, sizeof(id->internal));
  return nccl_thread().faults.id_status;
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int count, ncclUniqueId id, int rank, ncclConfig_t* config) {
  dormer::comm::Communicator& ranks = *nccl_thread().ranks;
  const bool sound = count == ranks.size() && rank == ranks.rank() && config->blocking == 0 && id.internal[0] == 0x5A &&
                     id.internal[NCCL_UNIQUE_ID_BYTES - 1] == 0x5A;
  *comm = living().add(new ncclComm{.ranks = &ranks});
  return sound ? in_progress(*comm) : ncclInvalidArgument;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error) {
  const ncclResult_t found = nccl_thread().faults.asynchronous;
  *error = found != ncclSuccess ? found : comm->polls_left > 0 ? ncclInProgress : ncclSuccess;
  comm->polls_left = std::max(0, comm->polls_left - 1);
  return ncclSuccess;
}
ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  comm->finalized = true;
  return in_progress(comm);
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  const bool sound = comm->finalized && comm->polls_left == 0;
  living().destroy(comm);
  return sound ? ncclSuccess : ncclInvalidUsage;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  living().destroy(comm);
  return ncclSuccess;
}

ncclResult_t ncclGroupStart() {
  ++group().depth;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  Group done = std::exchange(group(), {});
  if (done.comm == nullptr) {
    return ncclInvalidUsage;  // a group without work
  }
  done.stream->work.emplace_back([done] {
    for (const auto& collective : done.collectives) {
      collective();
    }
    if (!done.sends.empty() || !done.receives.empty()) {
      done.comm->ranks->exchange(done.sends, done.receives).wait();
    }
  });
  ++done.stream->submitted;
  done.stream->after_compute = false;
  return in_progress(done.comm);
}

ncclResult_t ncclAllReduce(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream) {
  return join(comm, stream, [=] {
    const BufferView buffer{receive, signed_count(count), dtype_of(type)};
    std::memmove(receive, send, buffer.bytes());
    comm->ranks->all_reduce(buffer, op_of(op)).wait();
  });
}
ncclResult_t ncclReduce(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t op, int root,
                        ncclComm_t comm, cudaStream_t stream) {
  return join(comm, stream, [=] {
    const ConstBufferView from{send, signed_count(count), dtype_of(type)};
    std::vector<std::byte> copy(from.bytes());
    std::memcpy(copy.data(), send, copy.size());
    comm->ranks->all_reduce({copy.data(), from.count, from.dtype}, op_of(op)).wait();
    if (comm->ranks->rank() == root) {
      std::memcpy(receive, copy.data(), copy.size());
    }
  });
}
ncclResult_t ncclReduceScatter(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t /*op*/,
                               ncclComm_t comm, cudaStream_t stream) {
  return join(comm, stream, [=] {
    const std::vector<std::int64_t> counts(static_cast<std::size_t>(comm->ranks->size()), signed_count(count));
    const DType dtype = dtype_of(type);
    comm->ranks
        ->reduce_scatter({send, signed_count(count) * comm->ranks->size(), dtype},
                         {receive, signed_count(count), dtype}, counts)
        .wait();
  });
}
ncclResult_t ncclAllGather(const void* send, void* receive, size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
  return join(comm, stream, [=] {
    const std::vector<std::int64_t> counts(static_cast<std::size_t>(comm->ranks->size()), signed_count(count));
    const DType dtype = dtype_of(type);
    comm->ranks
        ->all_gather({send, signed_count(count), dtype}, {receive, signed_count(count) * comm->ranks->size(), dtype},
                     counts)
        .wait();
  });
}
ncclResult_t ncclBroadcast(const void* send, void* receive, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  return join(comm, stream, [=] {
    const BufferView buffer{receive, signed_count(count), dtype_of(type)};
    if (comm->ranks->rank() == root) {
      std::memmove(receive, send, buffer.bytes());
    }
    comm->ranks->broadcast(buffer, root).wait();
  });
}
ncclResult_t ncclSend(const void* send, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  const ncclResult_t status = join(comm, stream);
  group().sends.push_back({peer, {send, signed_count(count), dtype_of(type)}});
  return status;
}
ncclResult_t ncclRecv(void* receive, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  const ncclResult_t status = join(comm, stream);
  group().receives.push_back({peer, {receive, signed_count(count), dtype_of(type)}});
  return status;
}

}  // extern "C"
