#include "data/literal_search.hpp"

#include <algorithm>
#include <utility>

namespace dormer::data {

LiteralSearch::LiteralSearch(std::vector<Literal> literals) : literals_(std::move(literals)) {
  std::stable_sort(literals_.begin(), literals_.end(),
                   [](const Literal& a, const Literal& b) { return a.text.size() > b.text.size(); });
  for (const Literal& literal : literals_) {
    begins_[static_cast<unsigned char>(literal.text.front())] = true;
  }
}

std::optional<LiteralSearch::Found> LiteralSearch::next(std::string_view text, std::size_t from) const {
  for (std::size_t at = from; at < text.size(); ++at) {
    if (!begins_[static_cast<unsigned char>(text[at])]) {
      continue;
    }
    for (const Literal& literal : literals_) {
      if (text.substr(at).starts_with(literal.text)) {
        return Found{at, at + literal.text.size(), literal.id};
      }
    }
  }
  return std::nullopt;
}

}  // namespace dormer::data
