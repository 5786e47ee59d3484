#pragma once

#include <string>
#include <vector>

#include "sweep/entry_reader.hpp"

namespace dormer::sweep {

/// Reads what stands at `prefix` (`sweep.space`) and checks that it fits together. What has mistakes is left out.
[[nodiscard]] std::vector<WrittenEntry> read_space(const config::Node& node, const std::string& prefix,
                                                   Mistakes& mistakes);

/// Decides which followers are expressions, and checks what entries say of each other: paths that exclude each other,
/// conditions, names, circles.
void settle_references(std::vector<WrittenEntry>& entries, Mistakes& mistakes);

/// The space of entries without mistakes.
[[nodiscard]] Space space_of(const std::vector<WrittenEntry>& entries);

}  // namespace dormer::sweep
