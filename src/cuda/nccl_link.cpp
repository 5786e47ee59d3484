#include "cuda/nccl_link.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <future>
#include <thread>

#include "dormer/core/error.hpp"

namespace dormer::cuda {
namespace {

using namespace std::chrono_literals;

constexpr auto kAbortLimit = 10s;  // NCCL's own abort may hang as well
constexpr auto kImpatience = 2ms;

std::string_view remedy_for(ncclResult_t status) {
  switch (status) {
    case ncclUnhandledCudaError:
      return "a GPU call inside of NCCL failed; look at nvidia-smi, and set NCCL_DEBUG=INFO for the call";
    case ncclSystemError:
      return "look at the network and /dev/shm of the machines, and set NCCL_DEBUG=INFO for the call";
    case ncclRemoteError:
      return "another rank ended or lost its network; its own message tells why";
    case ncclInvalidArgument:
    case ncclInvalidUsage:
      return "two ranks on one GPU, or ranks that call differently; set NCCL_DEBUG=WARN for the reason";
    default:
      return "set NCCL_DEBUG=INFO for the reason";
  }
}

/// NCCL's id, and before it whether rank 0 could make one.
using IdMessage = std::array<std::uint8_t, 1 + sizeof(ncclUniqueId)>;

IdMessage spread_id(comm::Communicator& rendezvous, ncclResult_t& status) {
  IdMessage message{};
  status = ncclSuccess;
  if (rendezvous.rank() == 0) {
    ncclUniqueId id{};
    status = ncclGetUniqueId(&id);
    message[0] = status == ncclSuccess ? 1 : 0;
    std::memcpy(message.data() + 1, &id, sizeof(id));
  }
  rendezvous.broadcast({message.data(), std::ssize(message), DType::kU8}, 0).wait();
  return message;
}

}  // namespace

void pause_between_polls(std::chrono::steady_clock::duration waited) {
  if (waited < kImpatience) {
    std::this_thread::yield();
  } else {
    std::this_thread::sleep_for(1ms);
  }
}

NcclLink::NcclLink(comm::Communicator& rendezvous, std::chrono::seconds limit)
    : rank_(rendezvous.rank()), size_(rendezvous.size()), limit_(limit) {
  ncclResult_t status = ncclSuccess;
  const IdMessage message = spread_id(rendezvous, status);
  check(status, "ncclGetUniqueId");
  require(message[0] == 1, Fault::kIo, "NCCL on {}: rank 0 could not make an id; its own message tells why", where());
  ncclUniqueId id{};
  std::memcpy(&id, message.data() + 1, sizeof(id));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;  // so that the ranks' meeting has a limit, too
  ncclComm_t comm = nullptr;
  const ncclResult_t begun = ncclCommInitRankConfig(&comm, size_, id, rank_, &config);
  comm_ = comm;
  settle(begun, "ncclCommInitRankConfig");
}

std::string NcclLink::where() const {
  return fmt::format("rank {} of {}", rank_, size_);
}

void NcclLink::fail_with(ncclResult_t status, std::string_view call) const {
  const char* last = ncclGetLastError(get());
  std::string detail = last != nullptr ? last : "";
  std::replace(detail.begin(), detail.end(), '\n', ' ');
  fail(Fault::kIo, "{} on {}: {}{}{}; {}", call, where(), ncclGetErrorString(status), detail.empty() ? "" : ": ",
       detail, remedy_for(status));
}

void NcclLink::check(ncclResult_t status, std::string_view call) const {
  if (status != ncclSuccess && status != ncclInProgress) [[unlikely]] {
    fail_with(status, call);
  }
}

void NcclLink::settle(ncclResult_t status, std::string_view call) const {
  check(status, call);
  if (status == ncclSuccess) {
    return;
  }
  ncclResult_t state = ncclInProgress;
  const bool done = wait_until(limit_, [&] {
    check(ncclCommGetAsyncError(get(), &state), "ncclCommGetAsyncError");
    return state != ncclInProgress;
  });
  require(done, Fault::kHung,
          "{} on {} is still under way after {} s; a rank is missing or hangs: look at the other ranks, and set "
          "NCCL_DEBUG=INFO",
          call, where(), limit_.count());
  check(state, call);
}

void NcclLink::check_asynchronous(std::string_view call) const {
  ncclResult_t state = ncclSuccess;
  check(ncclCommGetAsyncError(get(), &state), "ncclCommGetAsyncError");
  check(state, call);
}

void NcclLink::close() {
  settle(ncclCommFinalize(get()), "ncclCommFinalize");
  check(ncclCommDestroy(comm_.exchange(nullptr)), "ncclCommDestroy");
}

void NcclLink::abort() noexcept {
  const ncclComm_t comm = comm_.exchange(nullptr);
  if (comm == nullptr) {
    return;
  }
  try {
    std::packaged_task<void()> task([comm] { static_cast<void>(ncclCommAbort(comm)); });
    const std::future<void> ended = task.get_future();
    std::thread(std::move(task)).detach();  // it may hang; the process ends all the same
    static_cast<void>(ended.wait_for(kAbortLimit));
  } catch (...) {
    return;  // no thread to be had: the process ends without it
  }
}

}  // namespace dormer::cuda
