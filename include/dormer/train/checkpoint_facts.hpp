#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace dormer::train {

/// A name and what it is, for a person.
using Fact = std::pair<std::string, std::string>;

/// What a checkpoint's manifest says of its run: progress, losses, what was trained on what, and since when the bits
/// are not those of one machine. Reads the manifest alone; an input error for a checkpoint of something else.
[[nodiscard]] std::vector<Fact> checkpoint_facts(const std::filesystem::path& folder);

}  // namespace dormer::train
