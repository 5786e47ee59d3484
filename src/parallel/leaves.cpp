#include "dormer/parallel/leaves.hpp"

#include <algorithm>
#include <bit>
#include <limits>

#include "dormer/core/error.hpp"

namespace dormer::parallel {
namespace {

void append_subtrees(Range node, Range share, std::vector<Range>& found) {
  if (share.contains(node)) {
    found.push_back(node);
    return;
  }
  if (node.end <= share.begin || share.end <= node.begin) {
    return;
  }
  const std::int64_t split = split_of(node);
  append_subtrees({node.begin, split}, share, found);
  append_subtrees({split, node.end}, share, found);
}

/// The fewest partial sums with which the last ranks can hold the last leaves, for shares of at most `limit` leaves.
class ShareCosts {
 public:
  static constexpr std::int64_t kImpossible = std::numeric_limits<std::int64_t>::max() / 2;

  ShareCosts(std::int64_t leaves, int ranks) : leaves_(leaves), ranks_(ranks) {
    partial_sums_.resize(cells(leaves + 1));
    for (std::int64_t begin = 0; begin < leaves; ++begin) {
      for (std::int64_t end = begin + 1; end <= leaves; ++end) {
        partial_sums_[index(begin, end)] = std::ssize(subtrees_of({begin, end}, leaves));
      }
    }
  }

  void solve(std::int64_t limit) {
    limit_ = limit;
    fewest_.assign(cells(ranks_ + 1), kImpossible);
    fewest_[index(ranks_, leaves_)] = 0;
    for (std::int64_t rank = ranks_ - 1; rank >= 0; --rank) {
      for (std::int64_t begin = 0; begin < leaves_; ++begin) {
        for (std::int64_t end = begin + 1; end <= std::min(leaves_, begin + limit); ++end) {
          std::int64_t& best = fewest_[index(rank, begin)];
          best = std::min(best, with_share(rank, begin, end));
        }
      }
    }
  }

  [[nodiscard]] std::int64_t fewest() const { return fewest_[index(0, 0)]; }

  /// The cuts that `solve` found, larger shares first.
  [[nodiscard]] std::vector<Range> shares() const {
    std::vector<Range> result;
    std::int64_t begin = 0;
    for (std::int64_t rank = 0; rank < ranks_; ++rank) {
      std::int64_t end = std::min(leaves_, begin + limit_);
      while (with_share(rank, begin, end) != fewest_[index(rank, begin)]) {
        --end;
      }
      result.push_back({begin, end});
      begin = end;
    }
    return result;
  }

 private:
  [[nodiscard]] std::size_t cells(std::int64_t rows) const { return static_cast<std::size_t>(rows * (leaves_ + 1)); }
  [[nodiscard]] std::size_t index(std::int64_t row, std::int64_t column) const {
    return static_cast<std::size_t>(row * (leaves_ + 1) + column);
  }
  [[nodiscard]] std::int64_t with_share(std::int64_t rank, std::int64_t begin, std::int64_t end) const {
    return partial_sums_[index(begin, end)] + fewest_[index(rank + 1, end)];
  }

  std::int64_t leaves_;
  std::int64_t ranks_;
  std::int64_t limit_ = 0;
  std::vector<std::int64_t> partial_sums_;  // of a share [row, column)
  std::vector<std::int64_t> fewest_;        // of ranks from row on, for leaves from column on
};

}  // namespace

std::vector<Range> plan_leaves(std::int64_t micro_batches) {
  require(micro_batches >= 1, Fault::kUsage,
          "an update of {} micro-batches is impossible; batch.global must be at least "
          "batch.micro",
          micro_batches);
  const std::int64_t run = (micro_batches + kMaxLeaves - 1) / kMaxLeaves;
  std::vector<Range> leaves;
  for (std::int64_t first = 0; first < micro_batches; first += run) {
    leaves.push_back({first, std::min(first + run, micro_batches)});
  }
  return leaves;
}

std::int64_t split_of(Range node) {
  invariant(node.count() >= 2, "a leaf does not split");
  return node.begin + static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(node.count() - 1)));
}

std::vector<Range> subtrees_of(Range share, std::int64_t leaves) {
  invariant(0 <= share.begin && share.begin < share.end && share.end <= leaves, "no share of {} leaves: [{}, {})",
            leaves, share.begin, share.end);
  std::vector<Range> found;
  append_subtrees({0, leaves}, share, found);
  return found;
}

int carries_after(std::int64_t leaf, Range subtree) {
  int carries = 0;
  for (Range node = subtree; node.count() > 1;) {
    carries += node.end == leaf + 1 ? 1 : 0;
    const std::int64_t split = split_of(node);
    node = leaf < split ? Range{node.begin, split} : Range{split, node.end};
  }
  return carries;
}

int peak_buffers(Range share, std::int64_t leaves) {
  int held = 0;
  int peak = 0;
  for (const Range& subtree : subtrees_of(share, leaves)) {
    for (std::int64_t leaf = subtree.begin; leaf < subtree.end; ++leaf) {
      peak = std::max(peak, ++held);
      held -= carries_after(leaf, subtree);
    }
  }
  return peak;
}

std::vector<Range> share_leaves(std::int64_t leaves, int ranks) {
  require(ranks >= 1, Fault::kUsage, "leaves cannot be shared by {} ranks", ranks);
  require(
      ranks <= leaves, Fault::kUsage,
      "{} ranks, but an update has only {} micro-batches to share (in leaves, at most {}): start at most {} ranks, or "
      "raise batch.global, or lower batch.micro",
      ranks, leaves, kMaxLeaves, leaves);
  const std::int64_t ideal = (leaves + ranks - 1) / ranks;
  ShareCosts costs(leaves, ranks);
  std::int64_t best_limit = ideal;
  std::int64_t fewest = ShareCosts::kImpossible;
  for (std::int64_t limit = ideal; limit <= ideal + ideal / 8; ++limit) {
    costs.solve(limit);
    if (costs.fewest() < fewest) {
      fewest = costs.fewest();
      best_limit = limit;
    }
  }
  costs.solve(best_limit);
  return costs.shares();
}

}  // namespace dormer::parallel
