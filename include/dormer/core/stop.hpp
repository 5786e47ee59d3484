#pragma once

#include <string>

namespace dormer {

/// Set by USR1 and TERM (and by INT, the terminal's interrupt); polled in every long phase. A third INT ends the
/// program at once.
void install_stop_handlers();
[[nodiscard]] bool stop_requested() noexcept;
/// For tests, and for whoever decides to end a run from inside.
void request_stop() noexcept;
void clear_stop() noexcept;

}  // namespace dormer
