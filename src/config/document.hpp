#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace dormer::config {

/// Where a node was written: a line of the file (from 1), or an override (its index; the line means nothing then).
struct Place {
  int line = 1;
  int override_index = -1;
};

struct Member;

/// One node of a YAML document, aliases already replaced by what they stand for.
struct Node {
  enum class Kind { kNull, kScalar, kSequence, kMap };
  Kind kind = Kind::kNull;
  std::string text;     ///< of a scalar
  bool quoted = false;  ///< a scalar in quotes is a text, whatever it looks like
  Place place;
  std::vector<Member> members;  ///< of a map, in the order of the file, duplicates too
  std::vector<Node> items;      ///< of a sequence

  /// The first member of that name in a map, or null.
  [[nodiscard]] const Member* find_member(std::string_view key) const;
  [[nodiscard]] const Node* find(std::string_view key) const;
  [[nodiscard]] Node* find(std::string_view key);
};

struct Member {
  std::string key;
  Place place;
  Node value;
};

/// Parses one YAML document that may come from anywhere. `source` stands in messages before the line; `place` gives the
/// override index of every node. Throws a usage error "source:line: …" for what is not one document of UTF-8 YAML
/// within the caps: 1 MiB, 64 levels, 20,000 nodes with aliases written out.
[[nodiscard]] Node parse_document(std::string_view text, const std::string& source, Place place = {});

/// Applies "a.b.0.c=value" to `root`: maps on the way are made, a number picks an item of a list, null takes the key
/// away. Throws a usage error for a line that cannot be applied.
void apply_override(Node& root, const std::string& line, int index);

}  // namespace dormer::config
