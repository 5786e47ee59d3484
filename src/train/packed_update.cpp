#include "train/packed_update.hpp"

#include <chrono>
#include <optional>

#include "train/agreement.hpp"
#include "train/trace_file.hpp"

namespace dormer::train {
namespace {

std::vector<PackedSamples> samples_of(std::span<const PackMember> members, std::int64_t index) {
  std::vector<PackedSamples> samples;
  for (const PackMember& member : members) {
    const std::int64_t micro = member.trial.batch().micro;
    samples.push_back({&member.inputs.task, {member.inputs.position + index * micro, micro}});
  }
  return samples;
}

void compute_micro_batch(std::span<const PackMember> members, std::int64_t index, bool last,
                         std::span<const double> divisors) {
  adapter::Pack pack;
  std::int64_t first_sample = 0;
  for (const PackMember& member : members) {
    pack.segments.push_back(member.trial.begin_micro_batch(member.inputs, index, first_sample, last));
    first_sample += member.trial.batch().micro;
  }
  const PackMember& first = members.front();
  pack.products_apart = first.trial.computes_apart();
  const std::vector<objective::LossSums> losses =
      first.inputs.task.losses(samples_of(members, index), pack, divisors,
                               {.backward = true, .recompute_blocks = first.trial.recomputes_blocks()});
  for (std::size_t i = 0; i < members.size(); ++i) {
    members[i].trial.end_micro_batch(losses[i], members[i].trace);
  }
}

void compute_gradients(std::span<const PackMember> members) {
  std::vector<double> divisors;
  for (const PackMember& member : members) {
    divisors.push_back(member.trial.begin_gradients(member.inputs));
  }
  const Trial& first = members.front().trial;
  const parallel::ReductionPlan& plan = first.plan();
  const parallel::Range share = plan.shares.at(static_cast<std::size_t>(first.rank()));
  const std::int64_t last = plan.micro_batches_of(first.rank()).end - 1;
  for (std::int64_t leaf = share.begin; leaf < share.end; ++leaf) {
    for (const PackMember& member : members) {
      member.trial.begin_leaf();
    }
    const parallel::Range micro_batches = plan.leaves.at(static_cast<std::size_t>(leaf));
    for (std::int64_t index = micro_batches.begin; index < micro_batches.end; ++index) {
      compute_micro_batch(members, index, index == last, divisors);
    }
    for (const PackMember& member : members) {
      member.trial.end_leaf(member.inputs);
    }
  }
}

}  // namespace

bool fit_together(const PackMember& one, const PackMember& other) {
  return one.inputs.task.shares_passes_with(other.inputs.task) &&
         one.trial.batch().micro == other.trial.batch().micro &&
         one.trial.recomputes_blocks() == other.trial.recomputes_blocks() &&
         one.trial.plan().leaves == other.trial.plan().leaves && one.trial.plan().shares == other.trial.plan().shares &&
         one.trial.adapters().packs() && other.trial.adapters().packs();
}

std::vector<MemberOutcome> update_together(std::span<const PackMember> members) {
  for (const PackMember& member : members) {
    member.trial.adapters().space().set_updates_done(member.inputs.step);
    if (member.trace != nullptr) {
      record_before(*member.trace, member.trial.adapters());
    }
  }
  const auto begin = std::chrono::steady_clock::now();
  const std::optional<Failure> failure = caught([&] { compute_gradients(members); });
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::vector<MemberOutcome> outcomes(members.size());
  for (std::size_t i = 0; i < members.size(); ++i) {
    const PackMember& member = members[i];
    try {
      outcomes[i].report = member.trial.finish_update(member.inputs, member.trace, failure, seconds);
    } catch (...) {
      outcomes[i].error = std::current_exception();
    }
  }
  return outcomes;
}

}  // namespace dormer::train
