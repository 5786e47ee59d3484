#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <mpi.h>
#include <unistd.h>

#include "dormer/comm/communicator.hpp"
#include "dormer/comm/mpi_module.hpp"
#include "dormer/comm/world.hpp"
#include "dormer/core/error.hpp"

namespace dormer::comm {
namespace {

constexpr std::int64_t kIntMax = std::numeric_limits<int>::max();
constexpr int kExchangeTag = 1;

void check(int status, const char* call) {
  if (status == MPI_SUCCESS) [[likely]] {
    return;
  }
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(status, text.data(), &length);
  fail(Fault::kIo, "{}: {}; look at the other ranks' messages for the cause", call,
       std::string_view(text.data(), static_cast<std::size_t>(length)));
}

/// Values that only move need no arithmetic type.
MPI_Datatype moved_type(DType dtype) {
  switch (size_of(dtype)) {
    case 1:
      return MPI_UINT8_T;
    case 2:
      return MPI_UINT16_T;
    case 4:
      return MPI_UINT32_T;
    default:
      return MPI_UINT64_T;
  }
}

MPI_Datatype reduced_type(DType dtype) {
  switch (dtype) {
    case DType::kU8:
      return MPI_UINT8_T;
    case DType::kI8:
      return MPI_INT8_T;
    case DType::kU16:
      return MPI_UINT16_T;
    case DType::kI16:
      return MPI_INT16_T;
    case DType::kU32:
      return MPI_UINT32_T;
    case DType::kI32:
      return MPI_INT32_T;
    case DType::kU64:
      return MPI_UINT64_T;
    case DType::kI64:
      return MPI_INT64_T;
    case DType::kF32:
      return MPI_FLOAT;
    case DType::kF64:
      return MPI_DOUBLE;
    default:
      break;
  }
  fail(Fault::kBug, "{} values cannot be reduced; convert them to float32 first", name_of(dtype));
}

MPI_Op op_of(ReduceOp op) {
  return op == ReduceOp::kSum ? MPI_SUM : op == ReduceOp::kMin ? MPI_MIN : MPI_MAX;
}

const void* at(ConstBufferView buffer, std::int64_t element) {
  return static_cast<const std::byte*>(buffer.data) + static_cast<std::size_t>(element) * size_of(buffer.dtype);
}
void* at(BufferView buffer, std::int64_t element) {
  return static_cast<std::byte*>(buffer.data) + static_cast<std::size_t>(element) * size_of(buffer.dtype);
}

/// The requests of one operation, and the arrays that MPI reads until they are complete.
struct Requests {
  std::vector<MPI_Request> requests;
  std::vector<int> counts;
  std::vector<int> offsets;

  MPI_Request* next() { return &requests.emplace_back(MPI_REQUEST_NULL); }
};

Pending pending(std::shared_ptr<Requests> state) {
  if (state->requests.empty()) {
    return {};
  }
  // Shared, because std::function wants to be copied; there is one owner at a time.
  return Pending([state = std::move(state)] {
    check(MPI_Waitall(static_cast<int>(state->requests.size()), state->requests.data(), MPI_STATUSES_IGNORE),
          "MPI_Waitall");
  });
}

Identity identify(MPI_Comm world) {
  Identity identity;
  identity.transport = "mpi";
  check(MPI_Comm_rank(world, &identity.rank), "MPI_Comm_rank");
  check(MPI_Comm_size(world, &identity.size), "MPI_Comm_size");
  MPI_Comm machine = MPI_COMM_NULL;
  check(MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, identity.rank, MPI_INFO_NULL, &machine),
        "MPI_Comm_split_type");
  check(MPI_Comm_rank(machine, &identity.local_rank), "MPI_Comm_rank");
  check(MPI_Comm_size(machine, &identity.local_size), "MPI_Comm_size");
  check(MPI_Comm_free(&machine), "MPI_Comm_free");
  std::array<char, MPI_MAX_PROCESSOR_NAME> name{};
  int length = 0;
  check(MPI_Get_processor_name(name.data(), &length), "MPI_Get_processor_name");
  identity.host.assign(name.data(), static_cast<std::size_t>(length));
  return identity;
}

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(MPI_Comm world, bool any_thread_may_abort, const MpiOptions& options)
      : world_(world),
        any_thread_may_abort_(any_thread_may_abort),
        piece_(std::clamp<std::int64_t>(options.piece_elements, 1, kIntMax)),
        identity_(identify(world)) {}
  MpiCommunicator(MPI_Comm part, const MpiCommunicator& whole)
      : world_(part),
        any_thread_may_abort_(whole.any_thread_may_abort_),
        is_part_(true),
        piece_(whole.piece_),
        identity_(whole.identity_) {
    check(MPI_Comm_rank(part, &identity_.rank), "MPI_Comm_rank");
    check(MPI_Comm_size(part, &identity_.size), "MPI_Comm_size");
  }

  [[nodiscard]] const Identity& identity() const override { return identity_; }

  Pending all_reduce(BufferView buffer, ReduceOp op) override {
    auto state = std::make_shared<Requests>();
    const MPI_Datatype type = reduced_type(buffer.dtype);
    for_pieces(buffer.count, [&](std::int64_t first, int count) {
      check(MPI_Iallreduce(MPI_IN_PLACE, at(buffer, first), count, type, op_of(op), world_, state->next()),
            "MPI_Iallreduce");
    });
    return pending(std::move(state));
  }

  Pending reduce_scatter(ConstBufferView send, BufferView receive, std::span<const std::int64_t> counts) override {
    auto state = std::make_shared<Requests>();
    const MPI_Datatype type = reduced_type(send.dtype);
    if (send.count <= piece_) {
      state->counts.assign(counts.begin(), counts.end());
      check(MPI_Ireduce_scatter(send.data, receive.data, state->counts.data(), type, MPI_SUM, world_, state->next()),
            "MPI_Ireduce_scatter");
      return pending(std::move(state));
    }
    // Beyond what int offsets can say: one reduction per slice, to its owner.
    std::int64_t begin = 0;
    for (int owner = 0; owner < size(); ++owner) {
      const std::int64_t elements = counts[static_cast<std::size_t>(owner)];
      for_pieces(elements, [&](std::int64_t first, int count) {
        check(MPI_Ireduce(at(send, begin + first), owner == rank() ? at(receive, first) : nullptr, count, type, MPI_SUM,
                          owner, world_, state->next()),
              "MPI_Ireduce");
      });
      begin += elements;
    }
    return pending(std::move(state));
  }

  Pending all_gather(ConstBufferView send, BufferView receive, std::span<const std::int64_t> counts) override {
    auto state = std::make_shared<Requests>();
    const MPI_Datatype type = moved_type(receive.dtype);
    std::vector<std::int64_t> offsets;
    std::int64_t total = 0;
    for (const std::int64_t count : counts) {
      offsets.push_back(total);
      total += count;
    }
    void* own = at(receive, offsets[static_cast<std::size_t>(rank())]);
    const bool in_place = send.data == own;
    if (total <= piece_) {
      state->counts.assign(counts.begin(), counts.end());
      state->offsets.assign(offsets.begin(), offsets.end());
      check(MPI_Iallgatherv(in_place ? MPI_IN_PLACE : send.data, static_cast<int>(send.count), type, receive.data,
                            state->counts.data(), state->offsets.data(), type, world_, state->next()),
            "MPI_Iallgatherv");
      return pending(std::move(state));
    }
    // Beyond what int offsets can say: every rank broadcasts its part.
    if (!in_place && send.count > 0) {
      std::copy_n(static_cast<const std::byte*>(send.data), send.bytes(), static_cast<std::byte*>(own));
    }
    for (int root = 0; root < size(); ++root) {
      const auto index = static_cast<std::size_t>(root);
      for_pieces(counts[index], [&](std::int64_t first, int count) {
        check(MPI_Ibcast(at(receive, offsets[index] + first), count, type, root, world_, state->next()), "MPI_Ibcast");
      });
    }
    return pending(std::move(state));
  }

  Pending broadcast(BufferView buffer, int root) override {
    auto state = std::make_shared<Requests>();
    for_pieces(buffer.count, [&](std::int64_t first, int count) {
      check(MPI_Ibcast(at(buffer, first), count, moved_type(buffer.dtype), root, world_, state->next()), "MPI_Ibcast");
    });
    return pending(std::move(state));
  }

  Pending exchange(std::span<const Send> sends, std::span<const Receive> receives) override {
    auto state = std::make_shared<Requests>();
    // One tag for all: MPI keeps the order of messages between two ranks, and of the pieces of each.
    for (const Receive& message : receives) {
      for_pieces(message.buffer.count, [&](std::int64_t first, int count) {
        check(MPI_Irecv(at(message.buffer, first), count, moved_type(message.buffer.dtype), message.peer, kExchangeTag,
                        world_, state->next()),
              "MPI_Irecv");
      });
    }
    for (const Send& message : sends) {
      for_pieces(message.buffer.count, [&](std::int64_t first, int count) {
        check(MPI_Isend(at(message.buffer, first), count, moved_type(message.buffer.dtype), message.peer, kExchangeTag,
                        world_, state->next()),
              "MPI_Isend");
      });
    }
    return pending(std::move(state));
  }

  void barrier() override { check(MPI_Barrier(world_), "MPI_Barrier"); }

  std::unique_ptr<Communicator> split(int part) override {
    MPI_Comm made = MPI_COMM_NULL;
    check(MPI_Comm_split(world_, part, rank(), &made), "MPI_Comm_split");
    check(MPI_Comm_set_errhandler(made, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    return std::make_unique<MpiCommunicator>(made, *this);
  }

  void finalize() override {
    check(MPI_Comm_free(&world_), "MPI_Comm_free");
    if (!is_part_) {
      check(MPI_Finalize(), "MPI_Finalize");
    }
  }

  void abort(int exit_code) noexcept override {
    if (any_thread_may_abort_ && world_ != MPI_COMM_NULL) {
      MPI_Abort(MPI_COMM_WORLD, exit_code);  // all ranks, of a part too
    }
    _exit(exit_code);  // the launcher ends the other ranks when one leaves without MPI_Finalize
  }

 private:
  /// Calls `run(first, count)` for pieces whose count fits MPI's int.
  template <typename Run>
  void for_pieces(std::int64_t elements, Run run) const {
    for (std::int64_t first = 0; first < elements; first += piece_) {
      run(first, static_cast<int>(std::min(piece_, elements - first)));
    }
  }

  MPI_Comm world_;
  bool any_thread_may_abort_;
  bool is_part_ = false;
  std::int64_t piece_;
  Identity identity_;
};

std::unique_ptr<Communicator> create(const MpiOptions& options) {
  int initialized = 0;
  check(MPI_Initialized(&initialized), "MPI_Initialized");
  invariant(initialized == 0, "the MPI world is created once per process");
  int provided = MPI_THREAD_SINGLE;
  // Only the communicator's thread calls operations; MULTIPLE is for `abort`, which a watchdog thread may call.
  check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
  require(provided >= MPI_THREAD_FUNNELED, Fault::kUsage,
          "this MPI offers no support for threads (level {}); use one built with MPI_THREAD_FUNNELED or above",
          provided);
  // A communicator of our own: no message of another library in this process can match ours.
  MPI_Comm world = MPI_COMM_NULL;
  check(MPI_Comm_dup(MPI_COMM_WORLD, &world), "MPI_Comm_dup");
  check(MPI_Comm_set_errhandler(world, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  return std::make_unique<MpiCommunicator>(world, provided == MPI_THREAD_MULTIPLE, options);
}

}  // namespace
}  // namespace dormer::comm

extern "C" __attribute__((visibility("default"))) const dormer::comm::MpiModule* dormer_mpi_module() {
  static const dormer::comm::MpiModule kModule{.build_id = DORMER_MPI_BUILD_ID, .create = &dormer::comm::create};
  return &kModule;
}
