#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/comm/communicator.hpp"
#include "dormer/core/error.hpp"

namespace dormer::train {

/// What went wrong on this rank.
struct Failure {
  Fault fault = Fault::kBug;
  std::string message;
};

/// Runs `body` and returns what it threw.
[[nodiscard]] std::optional<Failure> caught(const std::function<void()>& body);

/// Throws the error of rank `rank` on every rank; all know its fault already, `own` has the message there.
[[noreturn]] void throw_as_one(comm::Communicator& communicator, Fault fault, int rank,
                               const std::optional<Failure>& own);

/// Runs `body` on this rank and waits for all ranks. If it failed anywhere, every rank throws the error of the lowest
/// rank that failed: one line, one exit code, and nobody is left waiting. `body` must not communicate.
void agree(comm::Communicator& communicator, const std::function<void()>& body);

/// Whether it is so on some rank. All ranks call, and all get the same answer.
[[nodiscard]] bool on_any_rank(comm::Communicator& communicator, bool own);

/// `agree` for a value that rank 0 alone makes; every rank gets its text.
[[nodiscard]] std::string agree_on_text(comm::Communicator& communicator, const std::function<std::string()>& rank0);

/// Throws a usage error on every rank unless all ranks have the same text; it names the ranks that differ from most.
/// `what` and `remedy` complete "rank 3 has another … than the others: …".
void require_equal(comm::Communicator& communicator, std::string_view what, std::string_view own,
                   std::string_view remedy);

/// The ranks whose text is not the most frequent one (the first rank's where there is a draw). Pure.
[[nodiscard]] std::vector<int> odd_ranks(const std::vector<std::string>& texts);

}  // namespace dormer::train
