#include "dormer/parallel/plan.hpp"

#include <algorithm>
#include <utility>

#include "dormer/core/error.hpp"
#include "parallel/update_summary.hpp"

namespace dormer::parallel {
namespace {

constexpr auto kFloatBytes = static_cast<std::int64_t>(sizeof(float));
constexpr auto kDoubleBytes = static_cast<std::int64_t>(sizeof(double));

using Count = comm::Trace::Count;

/// An all-gather to which rank r brings `counts[r]` elements.
Count all_gather_bytes(const std::vector<std::int64_t>& counts, int rank, std::int64_t element_bytes) {
  const std::int64_t own = counts[static_cast<std::size_t>(rank)];
  std::int64_t total = 0;
  for (const std::int64_t count : counts) {
    total += count;
  }
  return {.calls = 1, .bytes_sent = own * element_bytes, .bytes_received = (total - own) * element_bytes};
}

void add(Count& into, const Count& other) {
  into.calls += other.calls;
  into.bytes_sent += other.bytes_sent;
  into.bytes_received += other.bytes_received;
}

Count reduction_bytes(const ReductionPlan& plan, int rank) {
  const bool exact = plan.request.reduction == Reduction::kExact;
  Count count{.calls = exact ? 1 : std::ssize(plan.buckets)};
  const std::int64_t own = plan.slices.slices[static_cast<std::size_t>(rank)].count();
  if (exact) {
    for (const PartialSum& message : plan.exchange[static_cast<std::size_t>(rank)].sends) {
      count.bytes_sent += message.slice.count() * kFloatBytes;
    }
    for (const PartialSum& message : plan.exchange[static_cast<std::size_t>(rank)].receives) {
      count.bytes_received += message.slice.count() * kFloatBytes;
    }
  } else if (plan.request.shard_optimizer) {
    count.bytes_sent = (plan.request.flat_size - own) * kFloatBytes;
    count.bytes_received = own * kFloatBytes;
  } else {
    count.bytes_sent = plan.request.flat_size * kFloatBytes;
    count.bytes_received = plan.request.flat_size * kFloatBytes;
  }
  return count;
}

}  // namespace

std::vector<std::int64_t> SlicePlan::counts() const {
  std::vector<std::int64_t> result;
  for (const Range& slice : slices) {
    result.push_back(slice.count());
  }
  return result;
}

SlicePlan plan_slices(std::int64_t size, int ranks) {
  invariant(size > 0 && size % kNormBlock == 0, "a flat space of {} elements is not whole blocks of {}", size,
            kNormBlock);
  invariant(ranks >= 1, "slices for {} ranks", ranks);
  const std::int64_t blocks = size / kNormBlock;
  SlicePlan plan{.size = size, .slices = {}};
  std::int64_t begin = 0;
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    const std::int64_t own = blocks / ranks + (rank < blocks % ranks ? 1 : 0);
    plan.slices.push_back({begin, begin + own * kNormBlock});
    begin += own * kNormBlock;
  }
  return plan;
}

std::vector<RankExchange> plan_exchange(const std::vector<Range>& shares, const SlicePlan& slices) {
  const auto ranks = static_cast<int>(shares.size());
  invariant(shares.size() == slices.slices.size() && !shares.empty(), "{} shares, but {} slices", shares.size(),
            slices.slices.size());
  std::vector<std::vector<Range>> subtrees;
  for (const Range& share : shares) {
    subtrees.push_back(subtrees_of(share, shares.back().end));
  }
  std::vector<RankExchange> plan(shares.size());
  for (int rank = 0; rank < ranks; ++rank) {
    // Each rank begins with another peer, so that not all send to rank 0 first.
    for (int step = 1; step < ranks; ++step) {
      const int to = (rank + step) % ranks;
      const int from = (rank - step + ranks) % ranks;
      const Range& to_slice = slices.slices[static_cast<std::size_t>(to)];
      const Range& own_slice = slices.slices[static_cast<std::size_t>(rank)];
      RankExchange& own = plan[static_cast<std::size_t>(rank)];
      for (const Range& subtree : subtrees[static_cast<std::size_t>(rank)]) {
        if (to_slice.count() > 0) {
          own.sends.push_back({to, subtree, to_slice});
        }
      }
      for (const Range& subtree : subtrees[static_cast<std::size_t>(from)]) {
        if (own_slice.count() > 0) {
          own.receives.push_back({from, subtree, own_slice});
        }
      }
    }
  }
  return plan;
}

std::vector<Bucket> plan_buckets(const SlicePlan& slices, const std::vector<Range>& slots) {
  const std::int64_t blocks = slices.size / kNormBlock;
  const std::int64_t size = (blocks + kMaxBuckets - 1) / kMaxBuckets * kNormBlock;
  const auto overlap = [](Range a, Range b) {
    return std::max<std::int64_t>(std::min(a.end, b.end) - std::max(a.begin, b.begin), 0);
  };
  std::vector<Bucket> buckets;
  for (std::int64_t end = slices.size; end > 0; end -= buckets.back().elements.count()) {
    Bucket bucket{.elements = {std::max<std::int64_t>(end - size, 0), end}, .slots = {}, .counts = {}};
    // Slots are ascending: those that overlap are consecutive.
    const auto first =
        std::partition_point(slots.begin(), slots.end(), [&](Range slot) { return slot.end <= bucket.elements.begin; });
    const auto last =
        std::partition_point(first, slots.end(), [&](Range slot) { return slot.begin < bucket.elements.end; });
    bucket.slots = {first - slots.begin(), last - slots.begin()};
    for (const Range& slice : slices.slices) {
      bucket.counts.push_back(overlap(slice, bucket.elements));
    }
    buckets.push_back(std::move(bucket));
  }
  return buckets;
}

Range ReductionPlan::micro_batches_of(int rank) const {
  const Range& share = shares[static_cast<std::size_t>(rank)];
  return {leaves[static_cast<std::size_t>(share.begin)].begin, leaves[static_cast<std::size_t>(share.end - 1)].end};
}

Range ReductionPlan::gradient_of(int rank) const {
  return request.shard_optimizer ? slices.slices[static_cast<std::size_t>(rank)] : Range{0, request.flat_size};
}

ReductionPlan plan_reduction(const ReductionRequest& request) {
  ReductionPlan plan{.request = request,
                     .leaves = plan_leaves(request.micro_batches),
                     .shares = {},
                     .slices = plan_slices(request.flat_size, request.ranks),
                     .exchange = {}};
  plan.shares = share_leaves(std::ssize(plan.leaves), request.ranks);
  if (request.reduction == Reduction::kExact) {
    plan.exchange = plan_exchange(plan.shares, plan.slices);
  } else {
    plan.buckets = plan_buckets(plan.slices, request.slots);
  }
  return plan;
}

comm::Trace bytes_per_update(const ReductionPlan& plan, int rank) {
  comm::Trace trace;
  if (plan.request.ranks == 1) {
    return trace;
  }
  const bool exact = plan.request.reduction == Reduction::kExact;
  const bool sharded = plan.request.shard_optimizer;
  const auto count_of = [&](comm::Operation operation) -> Count& {
    return trace.operations.at(static_cast<std::size_t>(operation));
  };
  const comm::Operation reduction = exact     ? comm::Operation::kExchange
                                    : sharded ? comm::Operation::kReduceScatter
                                              : comm::Operation::kAllReduce;
  count_of(reduction) = reduction_bytes(plan, rank);
  Count& gathered = count_of(comm::Operation::kAllGather);
  add(gathered, all_gather_bytes(summary_counts(plan), rank, kDoubleBytes));
  if (sharded || exact) {  // updated values with sharding, else the sums of the slices
    add(gathered, all_gather_bytes(plan.slices.counts(), rank, kFloatBytes));
  }
  return trace;
}

BufferBytes buffer_bytes(const ReductionPlan& plan, int rank) {
  const auto own = static_cast<std::size_t>(rank);
  const std::int64_t flat = plan.request.flat_size * kFloatBytes;
  BufferBytes bytes{.gradient = flat};
  if (plan.request.reduction == Reduction::kExact) {
    bytes.sums = (peak_buffers(plan.shares[own], std::ssize(plan.leaves)) - 1) * flat;
    for (const PartialSum& message : plan.exchange[own].receives) {
      bytes.received += message.slice.count() * kFloatBytes;
    }
  } else if (plan.request.shard_optimizer && plan.request.ranks > 1) {
    bytes.sums = plan.slices.slices[own].count() * kFloatBytes;
  }
  return bytes;
}

}  // namespace dormer::parallel
