#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dormer/config/tree.hpp"
#include "dormer/sweep/space.hpp"
#include "sweep/mistakes.hpp"

namespace dormer::sweep {

/// An entry of the space and where it was written.
struct WrittenEntry {
  Space::Entry entry;
  std::string path;                        ///< for messages: "sweep.space.adapter.rank"
  config::Place place;                     ///< of its key
  std::vector<config::Place> values = {};  ///< of each option, or of the lowest and the highest number
  std::vector<config::Place> when = {};    ///< of each condition
};

/// The entry that one key of the space describes, as far as it can be told from it alone: a scalar is a follower with
/// both `text` and `expression`, for `settle_references` to choose. Nothing where there are mistakes.
[[nodiscard]] std::optional<WrittenEntry> read_entry(const config::Member& member, const std::string& prefix,
                                                     Mistakes& mistakes);

/// The entry of a group under `zip`: paths with lists of one length.
[[nodiscard]] std::optional<WrittenEntry> read_zip_group(const config::Node& group, const std::string& path,
                                                         Mistakes& mistakes);

}  // namespace dormer::sweep
