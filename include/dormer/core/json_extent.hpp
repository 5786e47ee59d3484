#pragma once

#include <cstddef>
#include <string_view>

namespace dormer {

/// How much a JSON text holds, found without parsing it; of other texts it says something between nothing and too much.
struct JsonExtent {
  std::size_t depth = 0;    ///< of arrays and objects within each other
  std::size_t members = 0;  ///< of all objects together
};
[[nodiscard]] JsonExtent extent_of_json(std::string_view text);

constexpr std::size_t kDeepestJson = 64;

/// Throws an input fault that names `where` for a text that nests deeper than any file of ours: the library calls
/// itself for every level when it copies or writes what it parsed, and a stack has an end.
void require_shallow_json(std::string_view text, std::string_view where);

}  // namespace dormer
