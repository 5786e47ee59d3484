#include "document_packing.hpp"

#include <algorithm>
#include <set>
#include <utility>

namespace dormer::data {

PackingPlan pack_documents(std::span<const std::uint64_t> offsets, std::span<const std::int64_t> targets,
                           std::int64_t row_length, bool drop_long) {
  PackingPlan plan;
  std::vector<PackedDocument> documents;
  for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
    const auto begin = static_cast<std::int64_t>(offsets[i]);
    const std::int64_t whole = static_cast<std::int64_t>(offsets[i + 1]) - begin;
    plan.too_long += whole > row_length ? 1 : 0;
    if (whole > row_length && drop_long) {
      continue;
    }
    const std::int64_t length = std::min(whole, row_length);
    if (targets[i] == 0) {
      ++plan.without_targets;
      continue;
    }
    documents.push_back({begin, length, targets[i]});
  }
  std::ranges::stable_sort(documents, [](const auto& a, const auto& b) { return a.length > b.length; });
  std::set<std::pair<std::int64_t, std::size_t>> room;  // free tokens and row
  for (const PackedDocument& document : documents) {
    auto found = room.lower_bound({document.length, 0});
    std::pair<std::int64_t, std::size_t> place{row_length, plan.rows.size()};
    if (found == room.end()) {
      plan.rows.emplace_back();
    } else {
      place = *found;
      room.erase(found);
    }
    plan.rows[place.second].push_back(document);
    room.emplace(place.first - document.length, place.second);
  }
  return plan;
}

}  // namespace dormer::data
