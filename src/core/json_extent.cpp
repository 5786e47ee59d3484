#include "dormer/core/json_extent.hpp"

#include <algorithm>

#include "dormer/core/error.hpp"

namespace dormer {

JsonExtent extent_of_json(std::string_view text) {
  JsonExtent extent;
  std::size_t depth = 0;
  bool quoted = false;
  for (std::size_t place = 0; place < text.size(); ++place) {
    const char letter = text[place];
    if (quoted) {
      place += letter == '\\' ? 1 : 0;
      quoted = letter != '"';
    } else if (letter == '"') {
      quoted = true;
    } else if (letter == '[' || letter == '{') {
      extent.depth = std::max(extent.depth, ++depth);
    } else if (letter == ']' || letter == '}') {
      depth -= depth > 0 ? 1 : 0;
    } else if (letter == ':') {
      ++extent.members;
    }
  }
  return extent;
}

void require_shallow_json(std::string_view text, std::string_view where) {
  require(extent_of_json(text).depth <= kDeepestJson, Fault::kInput,
          "{} nests deeper than {} levels; make or download it again", where, kDeepestJson);
}

}  // namespace dormer
