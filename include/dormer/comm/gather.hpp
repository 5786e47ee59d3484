#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/comm/communicator.hpp"

namespace dormer::comm {

// Small values of all ranks. Collective and blocking: all ranks call in the same order.

/// Every rank's number, in rank order.
[[nodiscard]] std::vector<std::int64_t> gather_numbers(Communicator& communicator, std::int64_t own);

/// Every rank's text, in rank order.
[[nodiscard]] std::vector<std::string> gather_texts(Communicator& communicator, std::string_view own);

/// The text of rank `root`; what the others pass is not looked at.
[[nodiscard]] std::string broadcast_text(Communicator& communicator, std::string text, int root);

}  // namespace dormer::comm
