#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dormer::data {

/// Finds texts, each with an id, in another: the leftmost first, and of those that begin there the longest.
class LiteralSearch {
 public:
  struct Literal {
    std::string text;  ///< not empty
    std::int64_t id;
  };
  struct Found {
    std::size_t begin;
    std::size_t end;
    std::int64_t id;
  };

  explicit LiteralSearch(std::vector<Literal> literals);
  [[nodiscard]] std::optional<Found> next(std::string_view text, std::size_t from) const;

 private:
  std::vector<Literal> literals_;   ///< the longest first
  std::array<bool, 256> begins_{};  ///< whether a literal begins with the byte: few bytes of a caption do
};

}  // namespace dormer::data
