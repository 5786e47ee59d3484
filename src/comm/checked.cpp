#include "dormer/comm/checked.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "dormer/core/error.hpp"

namespace dormer::comm {
namespace {

using Numbers = std::vector<std::int64_t>;

std::int64_t hash_of(std::span<const std::int64_t> values) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const std::int64_t value : values) {
    hash = (hash ^ static_cast<std::uint64_t>(value)) * 0x100000001b3U;
    hash ^= hash >> 29U;
  }
  return static_cast<std::int64_t>(hash);
}

/// What must be equal on all ranks. `fits` is 0 where a rank's own buffers contradict its counts.
struct Call {
  std::int64_t sequence = 0;
  std::int64_t operation = 0;
  std::int64_t count = 0;
  std::int64_t dtype = 0;
  std::int64_t detail = 0;  ///< root of a broadcast, kind of a reduction
  std::int64_t counts_hash = 0;
  std::int64_t fits = 1;
  bool operator==(const Call&) const = default;
};
constexpr std::int64_t kCallNumbers = sizeof(Call) / sizeof(std::int64_t);
static_assert(sizeof(Call) % sizeof(std::int64_t) == 0);

std::string describe(const Call& call) {
  const auto operation = static_cast<Operation>(call.operation);
  std::string text = fmt::format("{} #{}", name_of(operation), call.sequence);
  if (operation == Operation::kBarrier || operation == Operation::kFinalize || operation == Operation::kExchange ||
      operation == Operation::kSplit) {
    return text;
  }
  text += fmt::format(" of {} {}", call.count, name_of(static_cast<DType>(call.dtype)));
  if (operation == Operation::kBroadcast) {
    text += fmt::format(" from rank {}", call.detail);
  } else if (operation == Operation::kAllReduce) {
    text += fmt::format(" ({})", name_of(static_cast<ReduceOp>(call.detail)));
  } else {
    text += fmt::format(" (counts {:08x})", static_cast<std::uint64_t>(call.counts_hash) >> 32U);
  }
  return call.fits != 0 ? text : text + " whose buffers do not fit its counts";
}

/// "ranks 0, 2: barrier #3; rank 1: broadcast #3 of …"
std::string describe_ranks(std::span<const Call> calls) {
  std::string text;
  std::vector<bool> told(calls.size(), false);
  for (std::size_t first = 0; first < calls.size(); ++first) {
    if (told[first]) {
      continue;
    }
    std::string ranks;
    int number = 0;
    for (std::size_t rank = first; rank < calls.size(); ++rank) {
      if (calls[rank] == calls[first]) {
        told[rank] = true;
        ranks += fmt::format("{}{}", number++ == 0 ? "" : ", ", rank);
      }
    }
    text +=
        fmt::format("{}rank{} {}: {}", text.empty() ? "" : "; ", number == 1 ? "" : "s", ranks, describe(calls[first]));
  }
  return text;
}

/// The messages between two ranks, as one side sees them.
struct Traffic {
  std::int64_t messages = 0;
  std::int64_t bytes = 0;
  std::int64_t hash = 0;
  bool operator==(const Traffic&) const = default;

  void add(std::int64_t count, DType dtype) {
    ++messages;
    bytes += count * static_cast<std::int64_t>(size_of(dtype));
    const std::array<std::int64_t, 3> parts{hash, count, static_cast<std::int64_t>(dtype)};
    hash = hash_of(parts);
  }
};
constexpr std::int64_t kTrafficNumbers = sizeof(Traffic) / sizeof(std::int64_t);

class CheckedCommunicator final : public Communicator {
 public:
  explicit CheckedCommunicator(std::unique_ptr<Communicator> inner) : inner_(std::move(inner)) {}

  [[nodiscard]] const Identity& identity() const override { return inner_->identity(); }

  Pending all_reduce(BufferView buffer, ReduceOp op) override {
    agree(Operation::kAllReduce,
          {.count = buffer.count, .dtype = number(buffer.dtype), .detail = static_cast<int>(op)});
    return inner_->all_reduce(buffer, op);
  }

  Pending reduce_scatter(ConstBufferView send, BufferView receive, std::span<const std::int64_t> counts) override {
    agree(Operation::kReduceScatter, sliced(send, receive, counts));
    return inner_->reduce_scatter(send, receive, counts);
  }

  Pending all_gather(ConstBufferView send, BufferView receive, std::span<const std::int64_t> counts) override {
    agree(Operation::kAllGather, sliced(receive, send, counts));
    return inner_->all_gather(send, receive, counts);
  }

  Pending broadcast(BufferView buffer, int root) override {
    agree(Operation::kBroadcast, {.count = buffer.count,
                                  .dtype = number(buffer.dtype),
                                  .detail = root,
                                  .fits = root >= 0 && root < size() ? 1 : 0});
    return inner_->broadcast(buffer, root);
  }

  Pending exchange(std::span<const Send> sends, std::span<const Receive> receives) override {
    Call call;
    for (const Send& message : sends) {
      call.fits = is_rank(message.peer) ? call.fits : 0;
    }
    for (const Receive& message : receives) {
      call.fits = is_rank(message.peer) ? call.fits : 0;
    }
    agree(Operation::kExchange, call);
    agree_on_messages(sends, receives);
    return inner_->exchange(sends, receives);
  }

  void barrier() override {
    agree(Operation::kBarrier, {});
    inner_->barrier();
  }

  std::unique_ptr<Communicator> split(int part) override {
    agree(Operation::kSplit, {});
    return checked(inner_->split(part));
  }

  void finalize() override {
    agree(Operation::kFinalize, {});
    inner_->finalize();
  }

  void abort(int exit_code) noexcept override { inner_->abort(exit_code); }

 private:
  static std::int64_t number(DType dtype) { return static_cast<std::int64_t>(dtype); }
  [[nodiscard]] bool is_rank(int peer) const { return peer >= 0 && peer < size(); }

  /// `whole` holds every rank's slice, `slice` the own one.
  [[nodiscard]] Call sliced(ConstBufferView whole, ConstBufferView slice, std::span<const std::int64_t> counts) const {
    const bool fits = std::ssize(counts) == size() && whole.dtype == slice.dtype &&
                      counts[static_cast<std::size_t>(rank())] == slice.count &&
                      std::accumulate(counts.begin(), counts.end(), std::int64_t{0}) == whole.count;
    return {.count = whole.count, .dtype = number(whole.dtype), .counts_hash = hash_of(counts), .fits = fits ? 1 : 0};
  }

  /// Everybody's `own` numbers, `per_rank` each.
  Numbers gather(std::span<const std::int64_t> own) {
    const Numbers counts(static_cast<std::size_t>(size()), std::ssize(own));
    Numbers all(own.size() * counts.size());
    inner_->all_gather(view(own), view(std::span(all)), counts).wait();
    return all;
  }

  void agree(Operation operation, Call call) {
    call.sequence = sequence_++;
    call.operation = static_cast<std::int64_t>(operation);
    const auto own = std::bit_cast<std::array<std::int64_t, kCallNumbers>>(call);
    const Numbers all = gather(own);
    std::vector<Call> calls;
    bool agreed = true;
    for (std::size_t first = 0; first < all.size(); first += own.size()) {
      std::array<std::int64_t, kCallNumbers> one{};
      std::copy_n(all.begin() + static_cast<std::ptrdiff_t>(first), one.size(), one.begin());
      calls.push_back(std::bit_cast<Call>(one));
      agreed = agreed && calls.back() == calls.front() && calls.back().fits != 0;
    }
    require(agreed, Fault::kBug, "the ranks' operations do not match: {}", describe_ranks(calls));
  }

  void agree_on_messages(std::span<const Send> sends, std::span<const Receive> receives) {
    const auto ranks = static_cast<std::size_t>(size());
    std::vector<Traffic> own(2 * ranks);  // sent to each rank, then received from each
    for (const Send& message : sends) {
      own[static_cast<std::size_t>(message.peer)].add(message.buffer.count, message.buffer.dtype);
    }
    for (const Receive& message : receives) {
      own[ranks + static_cast<std::size_t>(message.peer)].add(message.buffer.count, message.buffer.dtype);
    }
    Numbers flat;
    for (const Traffic& traffic : own) {
      flat.insert(flat.end(), {traffic.messages, traffic.bytes, traffic.hash});
    }
    const Numbers all = gather(flat);
    const auto seen = [&](std::size_t by, std::size_t entry) {
      const std::size_t first = by * flat.size() + entry * kTrafficNumbers;
      return Traffic{.messages = all[first], .bytes = all[first + 1], .hash = all[first + 2]};
    };
    for (std::size_t from = 0; from < ranks; ++from) {
      for (std::size_t to = 0; to < ranks; ++to) {
        const Traffic sent = seen(from, to);
        const Traffic expected = seen(to, ranks + from);
        require(sent == expected, Fault::kBug,
                "the ranks' messages do not match in exchange #{}: rank {} sends {} ({} bytes) to rank {}, which "
                "expects {} ({} bytes){}",
                sequence_ - 1, from, sent.messages, sent.bytes, to, expected.messages, expected.bytes,
                sent.messages == expected.messages && sent.bytes == expected.bytes ? " of other sizes or dtypes" : "");
      }
    }
  }

  std::unique_ptr<Communicator> inner_;
  std::int64_t sequence_ = 0;
};

}  // namespace

std::unique_ptr<Communicator> checked(std::unique_ptr<Communicator> inner) {
  return std::make_unique<CheckedCommunicator>(std::move(inner));
}

}  // namespace dormer::comm
