#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/comm/communicator.hpp"

namespace dormer::train {

/// Runs `body` on this rank and waits for all ranks. If it failed anywhere, every rank throws the error of the lowest
/// rank that failed: one line, one exit code, and nobody is left waiting. `body` must not communicate.
void agree(comm::Communicator& communicator, const std::function<void()>& body);

/// `agree` for a value that rank 0 alone makes; every rank gets its text.
[[nodiscard]] std::string agree_on_text(comm::Communicator& communicator, const std::function<std::string()>& rank0);

/// Every rank's text, in rank order.
[[nodiscard]] std::vector<std::string> gather_texts(comm::Communicator& communicator, std::string_view own);

/// Throws a usage error on every rank unless all ranks have the same text; it names the ranks that differ from most.
/// `what` and `remedy` complete "rank 3 has another … than the others: …".
void require_equal(comm::Communicator& communicator, std::string_view what, std::string_view own,
                   std::string_view remedy);

/// The ranks whose text is not the most frequent one (the first rank's where there is a draw). Pure.
[[nodiscard]] std::vector<int> odd_ranks(const std::vector<std::string>& texts);

}  // namespace dormer::train
