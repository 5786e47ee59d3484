#include "dormer/comm/threads.hpp"

#include <condition_variable>
#include <cstring>
#include <exception>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "dormer/core/error.hpp"
#include "host_name.hpp"
#include "reduce_values.hpp"

namespace dormer::comm {
namespace {

struct Message {
  int peer = 0;
  DType dtype = DType::kU8;
  std::vector<std::byte> bytes{};
};

/// What one rank brought to one operation: a copy, so that ranks can wait in any order.
struct Contribution {
  Operation operation = Operation::kBarrier;
  DType dtype = DType::kU8;
  std::int64_t count = 0;
  std::vector<std::byte> bytes{};
  std::vector<Message> messages{};
};

std::vector<std::byte> copy_of(ConstBufferView view) {
  const auto* data = static_cast<const std::byte*>(view.data);
  return view.count == 0 ? std::vector<std::byte>{} : std::vector<std::byte>(data, data + view.bytes());
}

class MeetingPlace;

/// One operation of all ranks. Read without the lock once all have arrived: nobody writes it then.
struct Meeting {
  std::vector<Contribution> contributions;
  std::vector<bool> arrived;
  int missing = 0;
  std::map<std::int64_t, std::shared_ptr<MeetingPlace>> parts;  ///< of a split: where the ranks of each part meet
};

/// Where the ranks meet: operations are numbered, and the n-th of every rank belong together.
class MeetingPlace {
 public:
  explicit MeetingPlace(int ranks) : ranks_(ranks), ended_(static_cast<std::size_t>(ranks), false) {}

  std::shared_ptr<const Meeting> arrive(int rank, std::uint64_t number, Contribution contribution) {
    const std::scoped_lock lock(mutex_);
    std::shared_ptr<Meeting>& meeting = meetings_[number];
    if (meeting == nullptr) {
      meeting = std::make_shared<Meeting>();
      meeting->contributions.resize(static_cast<std::size_t>(ranks_));
      meeting->arrived.resize(static_cast<std::size_t>(ranks_), false);
      meeting->missing = ranks_;
    }
    meeting->contributions[static_cast<std::size_t>(rank)] = std::move(contribution);
    meeting->arrived[static_cast<std::size_t>(rank)] = true;
    const std::shared_ptr<const Meeting> result = meeting;
    if (--meeting->missing == 0) {
      make_parts(*meeting);
      meetings_.erase(number);  // every rank holds its own reference
      changed_.notify_all();
    }
    return result;
  }

  void wait(const Meeting& meeting, Operation operation) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return meeting.missing == 0 || failure_ || deserter(meeting) >= 0; });
    if (meeting.missing == 0) {
      return;
    }
    require(!failure_, Fault::kBug, "{} cannot end: another rank has failed", name_of(operation));
    fail(Fault::kBug, "{} cannot end: rank {} has returned without it", name_of(operation), deserter(meeting));
  }

  void leave(int rank, std::exception_ptr failure) {
    std::vector<Part> parts;
    {
      const std::scoped_lock lock(mutex_);
      ended_[static_cast<std::size_t>(rank)] = true;
      if (failure && !failure_) {
        failure_ = failure;
      }
      changed_.notify_all();
      parts = parts_;
    }
    for (const Part& part : parts) {  // who waits there waits for this rank as well
      if (const auto place = part.place.lock(); place != nullptr && part.member == rank) {
        place->leave(part.rank, failure);
      }
    }
  }

  /// `member` is rank `rank` of `place`.
  void add_part(const std::shared_ptr<MeetingPlace>& place, int member, int rank) {
    const std::scoped_lock lock(mutex_);
    parts_.push_back({place, member, rank});
  }

  void rethrow() const {
    if (failure_) {
      std::rethrow_exception(failure_);
    }
  }

 private:
  struct Part {
    std::weak_ptr<MeetingPlace> place;
    int member = 0;
    int rank = 0;
  };

  static void make_parts(Meeting& meeting) {
    std::map<std::int64_t, int> sizes;
    for (const Contribution& contribution : meeting.contributions) {
      if (contribution.operation == Operation::kSplit) {
        ++sizes[contribution.count];
      }
    }
    for (const auto& [part, size] : sizes) {
      meeting.parts.emplace(part, std::make_shared<MeetingPlace>(size));
    }
  }

  [[nodiscard]] int deserter(const Meeting& meeting) const {
    for (std::size_t rank = 0; rank < ended_.size(); ++rank) {
      if (ended_[rank] && !meeting.arrived[rank]) {
        return static_cast<int>(rank);
      }
    }
    return -1;
  }

  const int ranks_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::uint64_t, std::shared_ptr<Meeting>> meetings_;
  std::vector<bool> ended_;
  std::exception_ptr failure_;
  std::vector<Part> parts_;
};

class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(std::shared_ptr<MeetingPlace> place, int rank, int size)
      : place_(std::move(place)),
        identity_{.rank = rank,
                  .size = size,
                  .local_rank = rank,
                  .local_size = size,
                  .host = host_name(),
                  .transport = "threads"} {}
  ThreadCommunicator(std::shared_ptr<MeetingPlace> part, int rank, int size, const Identity& whole)
      : place_(std::move(part)), identity_(whole) {
    identity_.rank = rank;
    identity_.size = size;
  }

  [[nodiscard]] const Identity& identity() const override { return identity_; }

  Pending all_reduce(BufferView buffer, ReduceOp op) override {
    return meet(Operation::kAllReduce, buffer,
                [buffer, op](const Meeting& meeting) { reduce_range(meeting, op, buffer, 0); });
  }

  Pending reduce_scatter(ConstBufferView send, BufferView receive, std::span<const std::int64_t> counts) override {
    std::int64_t first = 0;
    for (int rank = 0; rank < identity_.rank; ++rank) {
      first += counts[static_cast<std::size_t>(rank)];
    }
    return meet(Operation::kReduceScatter, send,
                [receive, first](const Meeting& meeting) { reduce_range(meeting, ReduceOp::kSum, receive, first); });
  }

  Pending all_gather(ConstBufferView send, BufferView receive, std::span<const std::int64_t> counts) override {
    return meet(Operation::kAllGather, send,
                [receive, expected = std::vector(counts.begin(), counts.end())](const Meeting& meeting) {
                  auto* out = static_cast<std::byte*>(receive.data);
                  for (std::size_t rank = 0; rank < expected.size(); ++rank) {
                    const Contribution& part = meeting.contributions[rank];
                    invariant(part.count == expected[rank], "all_gather: rank {} sends {} elements, expected are {}",
                              rank, part.count, expected[rank]);
                    if (part.count > 0) {
                      std::memcpy(out, part.bytes.data(), part.bytes.size());
                      out += part.bytes.size();
                    }
                  }
                });
  }

  Pending broadcast(BufferView buffer, int root) override {
    return meet(Operation::kBroadcast, buffer, [buffer, root](const Meeting& meeting) {
      const Contribution& part = meeting.contributions.at(static_cast<std::size_t>(root));
      invariant(part.count == buffer.count, "broadcast: rank {} sends {} elements, expected are {}", root, part.count,
                buffer.count);
      if (part.count > 0) {
        std::memcpy(buffer.data, part.bytes.data(), part.bytes.size());
      }
    });
  }

  Pending exchange(std::span<const Send> sends, std::span<const Receive> receives) override {
    Contribution contribution{.operation = Operation::kExchange};
    for (const Send& send : sends) {
      contribution.messages.push_back({send.peer, send.buffer.dtype, copy_of(send.buffer)});
    }
    return meet(std::move(contribution),
                [rank = identity_.rank, expected = std::vector(receives.begin(), receives.end())](
                    const Meeting& meeting) { take_messages(meeting, rank, expected); });
  }

  void barrier() override {
    meet(Operation::kBarrier, {}, [](const Meeting&) {}).wait();
  }

  std::unique_ptr<Communicator> split(int part) override {
    std::shared_ptr<MeetingPlace> place;
    int own = 0;
    int members = 0;
    meet({.operation = Operation::kSplit, .count = part}, [&](const Meeting& meeting) {
      for (std::size_t rank = 0; rank < meeting.contributions.size(); ++rank) {
        if (meeting.contributions[rank].count == part) {
          own += static_cast<int>(rank) < identity_.rank ? 1 : 0;
          ++members;
        }
      }
      place = meeting.parts.at(part);
    }).wait();
    place_->add_part(place, identity_.rank, own);
    return std::make_unique<ThreadCommunicator>(std::move(place), own, members, identity_);
  }

  void finalize() override {
    meet(Operation::kFinalize, {}, [](const Meeting&) {}).wait();
  }

  void abort(int exit_code) noexcept override {
    place_->leave(identity_.rank, std::make_exception_ptr(Error(
                                      static_cast<Fault>(exit_code),
                                      fmt::format("rank {} aborted with exit code {}", identity_.rank, exit_code))));
  }

 private:
  template <typename Finish>
  Pending meet(Operation operation, ConstBufferView buffer, Finish finish) {
    return meet({.operation = operation, .dtype = buffer.dtype, .count = buffer.count, .bytes = copy_of(buffer)},
                std::move(finish));
  }

  template <typename Finish>
  Pending meet(Contribution contribution, Finish finish) {
    const Operation operation = contribution.operation;
    const std::uint64_t number = next_++;
    return Pending([this, operation, number, finish = std::move(finish),
                    meeting = place_->arrive(identity_.rank, number, std::move(contribution))] {
      place_->wait(*meeting, operation);
      for (std::size_t rank = 0; rank < meeting->contributions.size(); ++rank) {
        const Contribution& other = meeting->contributions[rank];
        invariant(other.operation == operation, "operation {}: rank {} calls {}, rank {} calls {}", number,
                  identity_.rank, name_of(operation), rank, name_of(other.operation));
      }
      finish(*meeting);
    });
  }

  static void reduce_range(const Meeting& meeting, ReduceOp op, BufferView out, std::int64_t first) {
    if (out.count == 0) {
      return;
    }
    const std::size_t offset = static_cast<std::size_t>(first) * size_of(out.dtype);
    for (std::size_t rank = 0; rank < meeting.contributions.size(); ++rank) {
      const Contribution& part = meeting.contributions[rank];
      invariant(part.dtype == out.dtype && offset + out.bytes() <= part.bytes.size(),
                "{}: rank {} brings {} {} elements, which do not cover {} from {} on", name_of(part.operation), rank,
                part.count, name_of(part.dtype), out.count, first);
      if (rank == 0) {
        std::memcpy(out.data, part.bytes.data() + offset, out.bytes());
      } else {
        reduce_values(out.dtype, op, out.data, part.bytes.data() + offset, out.count);
      }
    }
  }

  static void take_messages(const Meeting& meeting, int rank, const std::vector<Receive>& expected) {
    std::vector<std::size_t> position(meeting.contributions.size(), 0);  // messages of one peer match in order
    for (const Receive& receive : expected) {
      const auto peer = static_cast<std::size_t>(receive.peer);
      const std::vector<Message>& messages = meeting.contributions.at(peer).messages;
      std::size_t& next = position[peer];
      while (next < messages.size() && messages[next].peer != rank) {
        ++next;
      }
      invariant(next < messages.size(), "exchange: rank {} waits for a message that rank {} does not send", rank, peer);
      const Message& message = messages[next++];
      invariant(message.dtype == receive.buffer.dtype && message.bytes.size() == receive.buffer.bytes(),
                "exchange: rank {} sends {} bytes of {}, rank {} expects {} bytes of {}", peer, message.bytes.size(),
                name_of(message.dtype), rank, receive.buffer.bytes(), name_of(receive.buffer.dtype));
      if (!message.bytes.empty()) {
        std::memcpy(receive.buffer.data, message.bytes.data(), message.bytes.size());
      }
    }
  }

  std::shared_ptr<MeetingPlace> place_;
  Identity identity_;
  std::uint64_t next_ = 0;
};

}  // namespace

ThreadWorld::ThreadWorld(int ranks) : ranks_(ranks) {
  require(ranks >= 1, Fault::kUsage, "a world of {} ranks is impossible; ask for at least 1", ranks);
}

void ThreadWorld::run(const std::function<void(Communicator&)>& body) const {
  const auto place = std::make_shared<MeetingPlace>(ranks_);
  {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < ranks_; ++rank) {
      threads.emplace_back([&, rank] {
        std::exception_ptr failure;
        try {
          ThreadCommunicator communicator(place, rank, ranks_);
          body(communicator);
        } catch (...) {
          failure = std::current_exception();  // rethrown by `run`
        }
        place->leave(rank, std::move(failure));
      });
    }
  }
  place->rethrow();
}

}  // namespace dormer::comm
