#pragma once

#include <cstdint>
#include <vector>

#include "dormer/comm/traced.hpp"
#include "dormer/parallel/leaves.hpp"

namespace dormer::parallel {

inline constexpr std::int64_t kNormBlock = 4'096;  ///< elements; the flat space's norm block

/// Which elements of the flat space each rank owns: whole norm blocks, contiguous, in rank order; the first ranks hold
/// one block more where they do not divide. Slices may be empty.
struct SlicePlan {
  std::int64_t size = 0;  ///< elements of the flat space
  std::vector<Range> slices;
  [[nodiscard]] std::vector<std::int64_t> counts() const;
};

/// `size` must be a multiple of `kNormBlock`.
[[nodiscard]] SlicePlan plan_slices(std::int64_t size, int ranks);

/// One message of the exact reduction: the elements `slice` of the sum over `subtree`.
struct PartialSum {
  int peer = 0;
  Range subtree;
  Range slice;
  bool operator==(const PartialSum&) const = default;
};

struct RankExchange {
  std::vector<PartialSum> sends;
  std::vector<PartialSum> receives;
};

/// What every rank sends and receives so that the owner of each slice holds all partial sums of it: directly from rank
/// to rank, messages between two ranks in the same order on both sides.
[[nodiscard]] std::vector<RankExchange> plan_exchange(const std::vector<Range>& shares, const SlicePlan& slices);

inline constexpr std::int64_t kMaxBuckets = 8;  ///< an eighth of a fast reduction is left when the backward pass ends

/// A stretch of the flat space that the fast reduction sends as one.
struct Bucket {
  Range elements;                    ///< whole norm blocks
  Range slots;                       ///< indices of the parameters that lie in it, whole or in part
  std::vector<std::int64_t> counts;  ///< the elements that lie in each rank's slice
};

/// At most `kMaxBuckets` buckets in the order in which they are sent: from the end of the flat space, where backward
/// passes begin. They do not move the slices: a reduce-scatter of each bucket to the owners of its parts costs as many
/// bytes as one of the whole. `slots` are the parameters' elements, ascending.
[[nodiscard]] std::vector<Bucket> plan_buckets(const SlicePlan& slices, const std::vector<Range>& slots);

enum class Reduction : std::uint8_t {
  kExact,  ///< the same bits for any number of ranks
  kFast,   ///< the communicator's own reduce-scatter or all-reduce, bucket by bucket during the last backward pass
};

struct ReductionRequest {
  Reduction reduction = Reduction::kExact;
  bool shard_optimizer = true;  ///< each rank updates its slice; otherwise all update everything
  std::int64_t micro_batches = 1;
  std::int64_t flat_size = 0;
  int ranks = 1;
  std::vector<Range> slots{};  ///< the parameters' elements, ascending; needed where gradients are announced
};

/// Everything about the gradients of one update that can be decided before it; equal on all ranks.
struct ReductionPlan {
  ReductionRequest request;
  std::vector<Range> leaves;  ///< micro-batches of each leaf
  std::vector<Range> shares;  ///< leaves of each rank
  SlicePlan slices;
  std::vector<RankExchange> exchange;  ///< per rank; of an exact reduction
  std::vector<Bucket> buckets{};       ///< of a fast reduction

  /// The micro-batches of a rank, which computes them in order.
  [[nodiscard]] Range micro_batches_of(int rank) const;
  /// Elements of the gradient that a rank gets: its slice, or all.
  [[nodiscard]] Range gradient_of(int rank) const;
};

[[nodiscard]] ReductionPlan plan_reduction(const ReductionRequest& request);

/// What the traced communicator of `rank` counts for one update: the reduction, the small all-gather of norms, losses
/// and flags, and with sharding the gathering of the updated slices.
[[nodiscard]] comm::Trace bytes_per_update(const ReductionPlan& plan, int rank);

/// Bytes of the flat buffers that the reducer of a rank holds from its second update on.
struct BufferBytes {
  std::int64_t gradient = 0;  ///< the one that backward passes add to
  std::int64_t sums = 0;      ///< partial sums that wait for others, and the own slice after a reduce-scatter
  std::int64_t received = 0;  ///< other ranks' partial sums
  [[nodiscard]] std::int64_t total() const { return gradient + sums + received; }
};
[[nodiscard]] BufferBytes buffer_bytes(const ReductionPlan& plan, int rank);

}  // namespace dormer::parallel
