#include "parallel/fast_reducer.hpp"

#include <utility>

#include "dormer/core/error.hpp"
#include "parallel/exact_reducer.hpp"
#include "parallel/update_summary.hpp"

namespace dormer::parallel {

FastReducer::FastReducer(const ReductionPlan& plan, comm::Communicator& communicator)
    : plan_(plan),
      communicator_(communicator),
      share_(plan.shares.at(static_cast<std::size_t>(communicator.rank()))),
      slice_(plan.slices.slices.at(static_cast<std::size_t>(communicator.rank()))),
      sum_(plan.request.flat_size),
      own_(plan.request.shard_optimizer && plan.request.ranks > 1 ? slice_.count() : 0) {
  invariant(communicator.size() == plan.request.ranks, "a plan for {} ranks, but there are {}", plan.request.ranks,
            communicator.size());
}

void FastReducer::begin_update() {
  if (std::exchange(reduced_, false)) {
    sum_.set_to_zero();
    losses_.clear();
    in_leaf_ = false;
  }
}

std::span<float> FastReducer::next_leaf_buffer() {
  begin_update();
  invariant(!in_leaf_, "the leaf before is not complete");
  invariant(std::ssize(losses_) < share_.count(), "all {} leaves of the share are complete", share_.count());
  in_leaf_ = true;
  return sum_.values();
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
  if (communicator_.size() > 1) {
    if (plan_.request.shard_optimizer) {
      own = gradient = own_.values();
      communicator_.reduce_scatter(view(sum_.values()), view(own), plan_.slices.counts()).wait();
    } else {
      communicator_.all_reduce(view(gradient), comm::ReduceOp::kSum).wait();
    }
  }
  ReducedGradient result = gather_summaries(plan_, communicator_, {block_squares(own), losses_, report});
  result.gradient = gradient;
  reduced_ = true;
  return result;
}

std::unique_ptr<GradientReducer> gradient_reducer(const ReductionPlan& plan, comm::Communicator& communicator) {
  if (plan.request.reduction == Reduction::kExact) {
    return std::make_unique<ExactReducer>(plan, communicator);
  }
  return std::make_unique<FastReducer>(plan, communicator);
}

}  // namespace dormer::parallel
