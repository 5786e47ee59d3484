#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace dormer::data {

/// A document, or the beginning of one, in a row: tokens [begin, begin + length) of the file.
struct PackedDocument {
  std::int64_t begin = 0;
  std::int64_t length = 0;
  std::int64_t targets = 0;  ///< that count
};

struct PackingPlan {
  std::vector<std::vector<PackedDocument>> rows;
  std::int64_t too_long = 0;         ///< documents longer than a row
  std::int64_t without_targets = 0;  ///< documents left out because no token of theirs counts
};

/// Puts whole documents into rows of `row_length` tokens: the longest first, each into the fullest row that still holds
/// it (best fit; ties go to the earlier row). What is longer than a row keeps its beginning, or with `drop_long` is
/// left out. `targets` has the counted targets of every document (of its beginning where it is cut); a document with
/// none is left out. Depends on nothing but its arguments. Pure.
[[nodiscard]] PackingPlan pack_documents(std::span<const std::uint64_t> offsets, std::span<const std::int64_t> targets,
                                         std::int64_t row_length, bool drop_long);

}  // namespace dormer::data
