// What every communicator promises, over {transport} x {bare, decorated} x {dtype} x {size}.
#include "comm/conformance.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <utility>

#include <gmock/gmock.h>

#include "dormer/comm/checked.hpp"
#include "dormer/comm/traced.hpp"
#include "dormer/core/error.hpp"
#include "support/borrowed_communicator.hpp"

namespace dormer::comm {

void add_decorated(std::vector<World>& worlds, const World& bare) {
  worlds.push_back(bare);
  worlds.push_back({bare.name + "_checked_traced",
                    [run = bare.run](const std::function<void(Communicator&)>& body) {
                      run([&](Communicator& inner) {
                        Trace trace;
                        body(*checked(traced(testing::borrowed(inner), trace)));
                      });
                    },
                    bare.reduces_16_bits, bare.has_parts});
  worlds.push_back({bare.name + "_traced_checked",
                    [run = bare.run](const std::function<void(Communicator&)>& body) {
                      run([&](Communicator& inner) {
                        Trace trace;
                        body(*traced(checked(testing::borrowed(inner)), trace));
                      });
                    },
                    bare.reduces_16_bits, bare.has_parts});
}

namespace {

using ::testing::ElementsAreArray;

constexpr std::int64_t kSizes[] = {0, 1, 13, 70'001};
constexpr DType kAllTypes[] = {DType::kBool,   DType::kU8,  DType::kI8,   DType::kU16, DType::kI16,
                               DType::kU32,    DType::kI32, DType::kU64,  DType::kI64, DType::kF8E4M3,
                               DType::kF8E5M2, DType::kF16, DType::kBF16, DType::kF32, DType::kF64};

using Bytes = std::vector<std::uint8_t>;

/// Bytes that differ per sender, element and purpose.
Bytes pattern(int sender, std::int64_t count, DType dtype, int purpose) {
  Bytes bytes(static_cast<std::size_t>(count) * size_of(dtype));
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::uint64_t mixed =
        (i + 1) * 0x9E3779B97F4A7C15U + static_cast<std::uint64_t>(sender * 131 + purpose) * 0xD1B54A32D192ED03U;
    bytes[i] = static_cast<std::uint8_t>(mixed >> 40U);
  }
  return bytes;
}

BufferView as(Bytes& bytes, DType dtype) {
  return {bytes.data(), static_cast<std::int64_t>(bytes.size() / size_of(dtype)), dtype};
}

/// Shares of unlike sizes, some of them empty, that sum to `total`.
std::vector<std::int64_t> uneven_counts(std::int64_t total, int ranks) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(ranks), 0);
  counts.back() = total / 3;
  counts.front() += total - total / 3;
  if (ranks > 2) {
    counts[1] = counts.front() / 2;
    counts.front() -= counts[1];
  }
  return counts;
}

template <typename T>
struct TypeOf {
  T zero;
  DType dtype;
};

/// Calls `body` with a zero of each type that the world's reductions take.
template <typename Body>
void for_reduced_types(const World& world, Body body) {
  body(TypeOf<std::uint8_t>{0, DType::kU8});
  body(TypeOf<std::int8_t>{0, DType::kI8});
  if (world.reduces_16_bits) {
    body(TypeOf<std::uint16_t>{0, DType::kU16});
    body(TypeOf<std::int16_t>{0, DType::kI16});
  }
  body(TypeOf<std::uint32_t>{0, DType::kU32});
  body(TypeOf<std::int32_t>{0, DType::kI32});
  body(TypeOf<std::uint64_t>{0, DType::kU64});
  body(TypeOf<std::int64_t>{0, DType::kI64});
  body(TypeOf<float>{0, DType::kF32});
  body(TypeOf<double>{0, DType::kF64});
}

/// Small whole numbers: exact in every type, in every order of summation.
int small_value(int rank, std::int64_t index) {
  return static_cast<int>((index * 7 + rank * 3) % 11) + rank;
}

class EveryCommunicator : public ::testing::TestWithParam<World> {
 protected:
  static void run(const std::function<void(Communicator&)>& body) { GetParam().run(body); }
};

TEST_P(EveryCommunicator, KnowsItsRanks) {
  run([](Communicator& ranks) {
    EXPECT_GE(ranks.rank(), 0);
    EXPECT_LT(ranks.rank(), ranks.size());
    EXPECT_LE(ranks.identity().local_size, ranks.size());
    EXPECT_LT(ranks.identity().local_rank, ranks.identity().local_size);
    EXPECT_FALSE(ranks.identity().host.empty());
    EXPECT_FALSE(ranks.identity().transport.empty());
  });
}

TEST_P(EveryCommunicator, AllReduceGivesEveryRankTheReduction) {
  run([](Communicator& ranks) {
    for_reduced_types(GetParam(), [&]<typename T>(TypeOf<T> type) {
      for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kMin, ReduceOp::kMax}) {
        for (const std::int64_t count : kSizes) {
          std::vector<T> values(static_cast<std::size_t>(count));
          std::vector<T> expected(values.size());
          for (std::size_t i = 0; i < values.size(); ++i) {
            values[i] = static_cast<T>(small_value(ranks.rank(), static_cast<std::int64_t>(i)));
            int reduced = small_value(0, static_cast<std::int64_t>(i));
            for (int rank = 1; rank < ranks.size(); ++rank) {
              const int other = small_value(rank, static_cast<std::int64_t>(i));
              reduced = op == ReduceOp::kSum   ? reduced + other
                        : op == ReduceOp::kMin ? std::min(reduced, other)
                                               : std::max(reduced, other);
            }
            expected[i] = static_cast<T>(reduced);
          }
          ranks.all_reduce({values.data(), count, type.dtype}, op).wait();
          EXPECT_EQ(values, expected) << name_of(type.dtype) << " " << name_of(op) << " " << count;
        }
      }
    });
  });
}

TEST_P(EveryCommunicator, ReduceScatterLeavesTheOwnSliceOfTheSum) {
  run([](Communicator& ranks) {
    for_reduced_types(GetParam(), [&]<typename T>(TypeOf<T> type) {
      for (const std::int64_t total : kSizes) {
        const std::vector<std::int64_t> counts = uneven_counts(total, ranks.size());
        std::vector<T> send(static_cast<std::size_t>(total));
        for (std::size_t i = 0; i < send.size(); ++i) {
          send[i] = static_cast<T>(small_value(ranks.rank(), static_cast<std::int64_t>(i)));
        }
        const std::int64_t begin = std::accumulate(counts.begin(), counts.begin() + ranks.rank(), std::int64_t{0});
        std::vector<T> own(static_cast<std::size_t>(counts[static_cast<std::size_t>(ranks.rank())]));
        std::vector<T> expected(own.size());
        for (std::size_t i = 0; i < own.size(); ++i) {
          int sum = 0;
          for (int rank = 0; rank < ranks.size(); ++rank) {
            sum += small_value(rank, begin + static_cast<std::int64_t>(i));
          }
          expected[i] = static_cast<T>(sum);
        }
        ranks.reduce_scatter({send.data(), total, type.dtype}, {own.data(), std::ssize(own), type.dtype}, counts)
            .wait();
        EXPECT_EQ(own, expected) << name_of(type.dtype) << " " << total;
      }
    });
  });
}

TEST_P(EveryCommunicator, AllGatherConcatenatesInRankOrder) {
  run([](Communicator& ranks) {
    for (const bool in_place : {false, true}) {
      for (const DType dtype : kAllTypes) {
        for (const std::int64_t total : kSizes) {
          const std::vector<std::int64_t> counts = uneven_counts(total, ranks.size());
          Bytes expected;
          Bytes own;
          std::size_t begin = 0;
          for (int rank = 0; rank < ranks.size(); ++rank) {
            const Bytes part = pattern(rank, counts[static_cast<std::size_t>(rank)], dtype, 1);
            if (rank == ranks.rank()) {
              own = part;
              begin = expected.size();
            }
            expected.insert(expected.end(), part.begin(), part.end());
          }
          Bytes received(expected.size(), 0xEE);
          ConstBufferView send = as(own, dtype);
          if (in_place) {
            std::copy(own.begin(), own.end(), received.begin() + static_cast<std::ptrdiff_t>(begin));
            send.data = received.data() + begin;
          }
          ranks.all_gather(send, as(received, dtype), counts).wait();
          EXPECT_TRUE(received == expected) << name_of(dtype) << " " << total << (in_place ? " in place" : "");
        }
      }
    }
  });
}

TEST_P(EveryCommunicator, BroadcastGivesEveryRankTheRootsValues) {
  run([](Communicator& ranks) {
    for (int root = 0; root < ranks.size(); ++root) {
      for (const DType dtype : kAllTypes) {
        for (const std::int64_t count : kSizes) {
          Bytes values = pattern(ranks.rank(), count, dtype, 2);
          ranks.broadcast(as(values, dtype), root).wait();
          EXPECT_TRUE(values == pattern(root, count, dtype, 2)) << name_of(dtype) << " " << count << " from " << root;
        }
      }
    }
  });
}

TEST_P(EveryCommunicator, ExchangeDeliversEveryMessageInOrder) {
  run([](Communicator& ranks) {
    for (const DType dtype : kAllTypes) {
      for (const std::int64_t count : kSizes) {
        // Two messages from every rank to every rank, itself included; the second longer by the sender's number.
        std::vector<Bytes> outgoing;
        std::vector<Bytes> incoming;
        outgoing.reserve(2 * static_cast<std::size_t>(ranks.size()));
        incoming.reserve(outgoing.capacity());
        std::vector<Send> sends;
        std::vector<Receive> receives;
        for (int peer = ranks.size() - 1; peer >= 0; --peer) {
          for (int message = 0; message < 2; ++message) {
            outgoing.push_back(pattern(ranks.rank(), count + message * ranks.rank(), dtype, 10 * peer + message));
            sends.push_back({peer, as(outgoing.back(), dtype)});
            incoming.emplace_back(static_cast<std::size_t>(count + message * peer) * size_of(dtype),
                                  std::uint8_t{0xEE});
            receives.push_back({peer, as(incoming.back(), dtype)});
          }
        }
        ranks.exchange(sends, receives).wait();
        for (std::size_t i = 0; i < incoming.size(); ++i) {
          const int peer = receives[i].peer;
          const int message = static_cast<int>(i % 2);
          EXPECT_TRUE(incoming[i] == pattern(peer, count + message * peer, dtype, 10 * ranks.rank() + message))
              << name_of(dtype) << " " << count << ": message " << message << " from " << peer;
        }
      }
    }
  });
}

TEST_P(EveryCommunicator, OneWayMessagesNeedNoAnswer) {
  run([](Communicator& ranks) {
    // Each rank but the last sends to its right neighbour only.
    std::vector<float> outgoing{static_cast<float>(ranks.rank()), 0.5F};
    std::vector<float> incoming(2, -1.0F);
    std::vector<Send> sends;
    std::vector<Receive> receives;
    if (ranks.rank() + 1 < ranks.size()) {
      sends.push_back({ranks.rank() + 1, view(std::span(outgoing))});
    }
    if (ranks.rank() > 0) {
      receives.push_back({ranks.rank() - 1, view(std::span(incoming))});
    }
    ranks.exchange(sends, receives).wait();
    EXPECT_EQ(incoming[0], ranks.rank() > 0 ? static_cast<float>(ranks.rank() - 1) : -1.0F);
  });
}

TEST_P(EveryCommunicator, OperationsUnderWayCanBeWaitedForInAnyOrder) {
  run([](Communicator& ranks) {
    std::vector<std::int64_t> first{ranks.rank() + 1};
    std::vector<std::int64_t> second{10 * (ranks.rank() + 1)};
    Pending a = ranks.all_reduce(view(std::span(first)), ReduceOp::kSum);
    Pending b = ranks.all_reduce(view(std::span(second)), ReduceOp::kSum);
    if (ranks.rank() % 2 == 0) {
      b.wait();
      a.wait();
    } else {
      a.wait();
      b.wait();
    }
    const std::int64_t sum = static_cast<std::int64_t>(ranks.size()) * (ranks.size() + 1) / 2;
    EXPECT_EQ(first[0], sum);
    EXPECT_EQ(second[0], 10 * sum);
  });
}

TEST_P(EveryCommunicator, ABarrierSeparatesWhatComesBeforeAndAfter) {
  run([](Communicator& ranks) {
    for (int round = 0; round < 3; ++round) {
      ranks.barrier();
    }
    std::vector<std::int64_t> alive{1};
    ranks.all_reduce(view(std::span(alive)), ReduceOp::kSum).wait();
    EXPECT_EQ(alive[0], ranks.size());
  });
}

TEST_P(EveryCommunicator, PartsAreCommunicatorsOfTheirRanks) {
  run([](Communicator& world) {
    if (!GetParam().has_parts) {
      EXPECT_THROW(static_cast<void>(world.split(0)), Error);
      return;
    }
    const std::unique_ptr<Communicator> part = world.split(world.rank() / 2);
    const int first = world.rank() / 2 * 2;
    ASSERT_EQ(part->size(), std::min(2, world.size() - first));
    EXPECT_EQ(part->rank(), world.rank() - first);
    EXPECT_EQ(part->identity().local_rank, world.identity().local_rank);
    EXPECT_EQ(part->identity().local_size, world.identity().local_size);
    // Each part does something of its own, so many times that neighbours would get into each other's way.
    for (int round = 0; round <= first; ++round) {
      const std::vector<std::int64_t> own{100 * world.rank() + round};
      std::vector<std::int64_t> all(static_cast<std::size_t>(part->size()));
      const std::vector<std::int64_t> counts(all.size(), 1);
      part->all_gather(view(std::span(own)), view(std::span(all)), counts).wait();
      for (std::size_t member = 0; member < all.size(); ++member) {
        EXPECT_EQ(all[member], 100 * (first + static_cast<int>(member)) + round);
      }
    }
    part->finalize();
    std::vector<std::int64_t> sum{1};
    world.all_reduce(view(std::span(sum)), ReduceOp::kSum).wait();
    EXPECT_EQ(sum[0], world.size());
  });
}

INSTANTIATE_TEST_SUITE_P(Worlds, EveryCommunicator, ::testing::ValuesIn(worlds_of_this_program()),
                         [](const auto& world) { return world.param.name; });

}  // namespace
}  // namespace dormer::comm
