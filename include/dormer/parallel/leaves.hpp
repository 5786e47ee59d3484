#pragma once

#include <cstdint>
#include <vector>

namespace dormer::parallel {

/// Consecutive indices, `end` excluded.
struct Range {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  [[nodiscard]] std::int64_t count() const { return end - begin; }
  [[nodiscard]] bool contains(Range other) const { return begin <= other.begin && other.end <= end; }
  bool operator==(const Range&) const = default;
};

inline constexpr std::int64_t kMaxLeaves = 64;

/// Cuts an update into the leaves of the fixed tree: runs of c consecutive micro-batches (the last may be shorter), c
/// the smallest that gives at most `kMaxLeaves`. Depends on the configuration alone, never on the ranks.
[[nodiscard]] std::vector<Range> plan_leaves(std::int64_t micro_batches);

/// The fixed tree over leaves [0, n): the left child of a node holds the largest power of two below its number of
/// leaves. That is the order in which a binary counter adds. A node is named by its leaves. Returns where a node of two
/// or more leaves splits: its children are [begin, split) and [split, end).
[[nodiscard]] std::int64_t split_of(Range node);

/// The largest nodes of the tree over `leaves` leaves that lie inside `share` and cover it, from left to right: what a
/// rank with this share sums by itself.
[[nodiscard]] std::vector<Range> subtrees_of(Range share, std::int64_t leaves);

/// How many additions of a left and a right child follow leaf `leaf` within `subtree`: the carries of a binary counter.
[[nodiscard]] int carries_after(std::int64_t leaf, Range subtree);

/// Flat buffers that a rank with this share needs at most at one time: with the leaf being computed, the partial sums
/// that wait for their right neighbour and the finished subtrees. log2 of the leaves plus one for a share that is one
/// subtree.
[[nodiscard]] int peak_buffers(Range share, std::int64_t leaves);

/// Gives each rank a contiguous, non-empty share of the leaves. The largest share is at most an eighth above the
/// smallest possible; among those the cuts with the fewest partial sums win (fewer bytes travel), then the smaller
/// largest share, then larger shares first: 64 leaves on 3 ranks are 24, 24, 16 (5 partial sums), not 22, 21, 21 (11).
/// More ranks than leaves are a usage error.
[[nodiscard]] std::vector<Range> share_leaves(std::int64_t leaves, int ranks);

}  // namespace dormer::parallel
