#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/config/read.hpp"
#include "dormer/config/visitor.hpp"

namespace dormer::config {

/// Where a node was written: a line of the file (from 1), or an override (its index; the line means nothing then).
struct Place {
  int line = 1;
  int override_index = -1;
  bool operator==(const Place&) const = default;
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

/// The node as YAML of one line that reads back to an equal node: what `--set path=` takes.
[[nodiscard]] std::string flow_text(const Node& node);
/// What a node is, for messages: "'text'", "a list", "a map", "null".
[[nodiscard]] std::string shown(const Node& node);

/// Something wrong in a document.
struct Mistake {
  Place place;
  std::string path;  ///< "path.to.key"; empty: of the whole
  std::string text;
};

/// A file that was parsed once, to be looked at, changed and read as often as one likes.
struct Document {
  std::string name;                    ///< stands in messages before the line
  std::vector<std::string> overrides;  ///< as they were given; they stand in messages in place of a line
  Node root;                           ///< a map

  /// Parses the text and applies the overrides. Throws a usage error for what is no map of groups.
  [[nodiscard]] static Document parse(const Source& source);
  /// Applies one more "a.b=value"; null takes the key away. What follows the path `undivided` is one key, dots and all.
  /// Throws a usage error for a line that cannot be applied.
  void set(const std::string& line, std::string_view undivided = {});
  /// Takes a top-level key out; nothing where there is none.
  [[nodiscard]] std::optional<Member> take(std::string_view key);
};

/// What is read from a document: as the arguments of `read`.
struct Reading {
  Describe target;
  Describe sample;
  Rules rules;
  std::span<const ForeignName> foreign_names = {};
};

/// Reads `document` into what `reading.target` describes and returns every mistake; none: all is well.
[[nodiscard]] std::vector<Mistake> find_mistakes(const Document& document, const Reading& reading);

/// Throws one usage error with all `mistakes`, those of the file in the order of its lines; returns if there are none.
void refuse(const Document& document, std::vector<Mistake> mistakes);

}  // namespace dormer::config
