#pragma once

#include <functional>
#include <optional>
#include <string>

namespace dormer::storage {

/// What `produce` returns, computed in a child process: for calls into a library that a damaged file may crash, or send
/// round in circles. Nothing where the child dies, throws or takes more than `milliseconds` of a processor. `produce`
/// sees a copy of this process with this thread alone: it must need no lock that another thread may hold.
[[nodiscard]] std::optional<std::string> computed_apart(const std::function<std::string()>& produce,
                                                        unsigned milliseconds);

}  // namespace dormer::storage
