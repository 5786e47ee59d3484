#include "parallel/fast_reducer.hpp"

#include <algorithm>
#include <utility>

#include "dormer/core/error.hpp"
#include "parallel/exact_reducer.hpp"
#include "parallel/update_summary.hpp"

namespace dormer::parallel {

FastReducer::FastReducer(const ReductionPlan& plan, const Links& links)
    : plan_(plan),
      links_(links),
      arithmetic_(links.device),
      share_(plan.shares.at(static_cast<std::size_t>(links.host.rank()))),
      slice_(plan.slices.slices.at(static_cast<std::size_t>(links.host.rank()))),
      thread_(std::this_thread::get_id()),
      sum_(plan.request.flat_size, links.device),
      own_(plan.request.shard_optimizer && plan.request.ranks > 1 ? slice_.count() : 0, links.device) {
  invariant(links.host.size() == plan.request.ranks, "a plan for {} ranks, but there are {}", plan.request.ranks,
            links.host.size());
}

void FastReducer::begin_update() {
  if (std::exchange(reduced_, false)) {
    arithmetic_.set_to_zero(sum_.values());
    losses_.clear();
    in_leaf_ = false;
    sent_ = 0;
    announced_.assign(plan_.request.slots.size(), false);
    missing_.clear();
    for (const Bucket& bucket : plan_.buckets) {
      missing_.push_back(bucket.slots.count());
    }
  }
}

std::span<float> FastReducer::next_leaf_buffer() {
  begin_update();
  invariant(!in_leaf_, "the leaf before is not complete");
  invariant(std::ssize(losses_) < share_.count(), "all {} leaves of the share are complete", share_.count());
  in_leaf_ = true;
  return sum_.values();
}

void FastReducer::announce(std::size_t slot) {
  invariant(in_leaf_ && std::ssize(losses_) + 1 == share_.count(),
            "parameter {} was announced before the last leaf of the share", slot);
  const bool again = announced_.at(slot);
  announced_[slot] = true;
  for (std::size_t index = 0; index < plan_.buckets.size(); ++index) {
    if (!plan_.buckets[index].slots.contains({static_cast<std::int64_t>(slot), static_cast<std::int64_t>(slot) + 1})) {
      continue;
    }
    invariant(!again || index >= sent_, "parameter {} was announced again after its gradient had been sent", slot);
    missing_[index] -= again ? 0 : 1;
  }
  if (may_send_now()) {
    send_complete_buckets();
  }
}

/// On a device its own thread waits while LibTorch's runs the backward pass, and the launcher's communicator, which
/// knows one thread alone, is another one.
bool FastReducer::may_send_now() const {
  return std::this_thread::get_id() == thread_ || &links_.gradients != &links_.host;
}

void FastReducer::send_complete_buckets() {
  if (links_.host.size() == 1) {
    return;
  }
  while (sent_ < plan_.buckets.size() && missing_[sent_] == 0) {
    send(plan_.buckets[sent_]);
  }
}

/// Nobody touches the bucket's elements from here until its operation has ended.
void FastReducer::send(const Bucket& bucket) {
  const std::span<float> whole = sum_.values().subspan(static_cast<std::size_t>(bucket.elements.begin),
                                                       static_cast<std::size_t>(bucket.elements.count()));
  if (plan_.request.shard_optimizer) {
    const auto rank = static_cast<std::size_t>(links_.host.rank());
    const std::int64_t begin = std::clamp(bucket.elements.begin, slice_.begin, slice_.end) - slice_.begin;
    const std::span<float> own =
        own_.values().subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(bucket.counts[rank]));
    pending_.push_back(links_.gradients.reduce_scatter(view(std::span<const float>(whole)), view(own), bucket.counts));
  } else {
    pending_.push_back(links_.gradients.all_reduce(view(whole), comm::ReduceOp::kSum));
  }
  ++sent_;
}

void FastReducer::finish_sending() {
  missing_.assign(missing_.size(), 0);
  send_complete_buckets();
  for (comm::Pending& operation : pending_) {
    operation.wait();
  }
  pending_.clear();
}

void FastReducer::complete_leaf(const LeafLoss& loss) {
  invariant(in_leaf_, "no leaf was begun");
  in_leaf_ = false;
  losses_.push_back(loss);
}

ReducedGradient FastReducer::reduce(const RankReport& report) {
  begin_update();
  if (report.error != 0) {
    losses_.resize(static_cast<std::size_t>(share_.count()));
    in_leaf_ = false;
  }
  invariant(!in_leaf_ && std::ssize(losses_) == share_.count(), "{} of {} leaves are complete", losses_.size(),
            share_.count());
  std::span<float> gradient = sum_.values();
  std::span<float> own =
      gradient.subspan(static_cast<std::size_t>(slice_.begin), static_cast<std::size_t>(slice_.count()));
  if (links_.host.size() > 1) {
    finish_sending();
    if (plan_.request.shard_optimizer) {
      own = gradient = own_.values();
    }
  }
  ReducedGradient result = gather_summaries(plan_, links_.host, {arithmetic_.block_squares(own), losses_, report});
  result.gradient = gradient;
  reduced_ = true;
  return result;
}

std::unique_ptr<GradientReducer> gradient_reducer(const ReductionPlan& plan, const Links& links) {
  if (plan.request.reduction == Reduction::kExact) {
    return std::make_unique<ExactReducer>(plan, links);
  }
  return std::make_unique<FastReducer>(plan, links);
}

}  // namespace dormer::parallel
