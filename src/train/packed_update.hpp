#pragma once

#include <exception>
#include <span>
#include <vector>

#include "train/trial.hpp"

namespace dormer::train {

/// A trial of a pack, and what its update reads.
struct PackMember {
  Trial& trial;
  UpdateInputs inputs;
  UpdateTrace* trace = nullptr;
};

/// What came of a member's update: its report, or the error that left its parameters as they were.
struct MemberOutcome {
  UpdateReport report;
  std::exception_ptr error;
};

/// Whether these trials can share forward passes: tasks that do, micro-batches of one size, as many of them, shared out
/// alike among the ranks, and nothing that a pack of several does not know (trained heads, added tokens). Pure.
[[nodiscard]] bool fit_together(const PackMember& one, const PackMember& other);

/// One update of each member (all of which `fit_together`), with one forward and backward pass for all of them. Every
/// member's numbers are its own: losses, clipping, what is not finite, dropout, optimizer; and they have the bits of
/// its update alone. What fails before the exchange fails for all members, what fails after it for its own. On all
/// ranks together, with the same members in the same order.
[[nodiscard]] std::vector<MemberOutcome> update_together(std::span<const PackMember> members);

}  // namespace dormer::train
