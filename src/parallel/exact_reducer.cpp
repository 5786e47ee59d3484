#include "parallel/exact_reducer.hpp"

#include <algorithm>
#include <utility>

#include "dormer/core/error.hpp"
#include "parallel/update_summary.hpp"

namespace dormer::parallel {
namespace {

template <typename T>
std::span<T> part_of(std::span<T> values, Range range) {
  return values.subspan(static_cast<std::size_t>(range.begin), static_cast<std::size_t>(range.count()));
}

}  // namespace

ExactReducer::ExactReducer(const ReductionPlan& plan, const Links& links)
    : plan_(plan),
      links_(links),
      arithmetic_(links.device),
      share_(plan.shares.at(static_cast<std::size_t>(links.host.rank()))),
      slice_(plan.slices.slices.at(static_cast<std::size_t>(links.host.rank()))),
      messages_(plan.exchange.at(static_cast<std::size_t>(links.host.rank()))),
      own_subtrees_(subtrees_of(share_, std::ssize(plan.leaves))) {
  invariant(links.host.size() == plan.request.ranks, "a plan for {} ranks, but there are {}", plan.request.ranks,
            links.host.size());
  for (const Range& share : plan.shares) {
    for (const Range& subtree : subtrees_of(share, std::ssize(plan.leaves))) {
      all_subtrees_.push_back(subtree);
    }
  }
  plan_additions({0, std::ssize(plan.leaves)});
  for (const PartialSum& message : messages_.receives) {
    received_.emplace_back(message.slice.count(), links_.device);
  }
}

std::size_t ExactReducer::subtree_index(Range subtree) const {
  const auto found = std::find(all_subtrees_.begin(), all_subtrees_.end(), subtree);
  invariant(found != all_subtrees_.end(), "no rank sums leaves [{}, {})", subtree.begin, subtree.end);
  return static_cast<std::size_t>(found - all_subtrees_.begin());
}

std::size_t ExactReducer::plan_additions(Range node) {
  const auto found = std::find(all_subtrees_.begin(), all_subtrees_.end(), node);
  if (found != all_subtrees_.end()) {
    return static_cast<std::size_t>(found - all_subtrees_.begin());
  }
  const std::int64_t split = split_of(node);
  const std::size_t left = plan_additions({node.begin, split});
  const std::size_t right = plan_additions({split, node.end});
  additions_.push_back({.left = left, .right = right});
  return left;
}

std::size_t ExactReducer::take_buffer() {
  if (free_.empty()) {
    buffers_.emplace_back(plan_.request.flat_size, links_.device);
    return buffers_.size() - 1;
  }
  const std::size_t buffer = free_.back();
  free_.pop_back();
  return buffer;
}

void ExactReducer::begin_update() {
  if (reduced_) {
    std::for_each(sums_.begin(), sums_.end(), [this](std::size_t buffer) { give_back(buffer); });
    sums_.clear();
    losses_.clear();
    reduced_ = false;
  }
}

std::span<float> ExactReducer::next_leaf_buffer() {
  begin_update();
  invariant(!current_, "the leaf before is not complete");
  invariant(std::ssize(losses_) < share_.count(), "all {} leaves of the share are complete", share_.count());
  current_ = take_buffer();
  arithmetic_.set_to_zero(buffers_[*current_].values());
  return buffers_[*current_].values();
}

void ExactReducer::complete_leaf(const LeafLoss& loss) {
  invariant(current_.has_value(), "no leaf was begun");
  const std::int64_t leaf = share_.begin + std::ssize(losses_);
  losses_.push_back(loss);
  sums_.push_back(*std::exchange(current_, std::nullopt));
  const auto subtree = std::find_if(own_subtrees_.begin(), own_subtrees_.end(), [leaf](const Range& range) {
    return range.contains({leaf, leaf + 1});
  });
  for (int carry = carries_after(leaf, *subtree); carry > 0; --carry) {
    const std::size_t right = sums_.back();
    sums_.pop_back();
    arithmetic_.add(buffers_[sums_.back()].values(), buffers_[right].values());
    give_back(right);
  }
}

/// A rank that failed takes part in the exchange all the same: the others wait for its messages.
void ExactReducer::fill_missing() {
  if (current_) {
    give_back(*std::exchange(current_, std::nullopt));
  }
  losses_.resize(static_cast<std::size_t>(share_.count()));
  while (sums_.size() > own_subtrees_.size()) {
    give_back(sums_.back());
    sums_.pop_back();
  }
  while (sums_.size() < own_subtrees_.size()) {
    sums_.push_back(take_buffer());
    arithmetic_.set_to_zero(buffers_[sums_.back()].values());
  }
}

/// Fills `parts` with the slice of every subtree, in the order of `all_subtrees_`.
void ExactReducer::exchange(std::vector<std::span<float>>& parts) {
  const std::size_t first_own = subtree_index(own_subtrees_.front());
  std::vector<comm::Send> sends;
  std::vector<comm::Receive> receives;
  for (const PartialSum& message : messages_.sends) {
    const std::size_t own = subtree_index(message.subtree) - first_own;
    sends.push_back({message.peer, view(part_of(buffers_[sums_[own]].values(), message.slice))});
  }
  for (std::size_t i = 0; i < messages_.receives.size(); ++i) {
    receives.push_back({messages_.receives[i].peer, view(received_[i].values())});
    parts[subtree_index(messages_.receives[i].subtree)] = received_[i].values();
  }
  for (std::size_t own = 0; own < own_subtrees_.size(); ++own) {
    parts[first_own + own] = part_of(buffers_[sums_[own]].values(), slice_);
  }
  if (links_.host.size() > 1) {
    links_.gradients.exchange(sends, receives).wait();
  }
}

/// Adds the slice's parts in tree order; the sum is in the first part. Returns its blocks' sums of squares.
std::vector<double> ExactReducer::add_slice(const std::vector<std::span<float>>& parts) const {
  const std::int64_t step = arithmetic_.elements_at_a_time(slice_.count());
  std::vector<double> squares;
  for (std::int64_t begin = 0; begin < slice_.count(); begin += step) {
    const Range some{begin, std::min(begin + step, slice_.count())};
    for (const Addition& addition : additions_) {
      arithmetic_.add(part_of(parts[addition.left], some), part_of(parts[addition.right], some));
    }
    const std::vector<double> sums = arithmetic_.block_squares(part_of(parts.front(), some));
    squares.insert(squares.end(), sums.begin(), sums.end());
  }
  return squares;
}

ReducedGradient ExactReducer::reduce(const RankReport& report) {
  begin_update();
  if (report.error != 0) {
    fill_missing();
  }
  invariant(!current_ && std::ssize(losses_) == share_.count(), "{} of {} leaves are complete", losses_.size(),
            share_.count());
  std::vector<std::span<float>> parts(all_subtrees_.size());
  exchange(parts);
  const std::vector<double> squares = add_slice(parts);
  std::span<float> gradient = parts.front();
  if (!plan_.request.shard_optimizer) {
    const std::span<float> whole = buffers_[sums_.front()].values();
    const std::span<float> own = part_of(whole, slice_);
    if (own.data() != gradient.data()) {
      arithmetic_.copy(own, gradient);
    }
    gather_slices(links_.gradients, plan_.slices, whole);
    gradient = whole;
  }
  ReducedGradient result = gather_summaries(plan_, links_.host, {squares, losses_, report});
  result.gradient = gradient;
  reduced_ = true;
  return result;
}

}  // namespace dormer::parallel
