#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/config/visitor.hpp"

namespace dormer::config {

/// A key (or a value of a key) of other programs, and the line that says the same here.
struct ForeignName {
  std::string key;     ///< the last part of the path: "lora_alpha"
  std::string value;   ///< with a value: only this one; empty: any
  std::string advice;  ///< what to write; '$' stands for the value that was written
};

/// Where the values come from. `name` stands in messages.
struct Source {
  std::string name;
  std::string text;                             ///< YAML
  std::span<const std::string> overrides = {};  ///< "a.b=value"; null takes the key away, so that its default counts
  std::span<const ForeignName> foreign_names = {};

  /// Reads the file; throws a usage error when it is missing, not a file, or over 1 MiB.
  [[nodiscard]] static Source from_file(const std::filesystem::path& file);
};

using Describe = std::function<void(Visitor&)>;
/// Messages "path.to.key: text".
using Rules = std::function<std::vector<std::string>()>;

/// Reads `source` into what `target` describes. Throws one usage error with every mistake, a line each:
/// "file:line: path.to.key: text". `sample` describes a value of the same type, to learn the known keys; `rules` is
/// asked last, and its messages about groups that already have a mistake are dropped.
void read(const Source& source, const Describe& target, const Describe& sample, const Rules& rules);

/// A `T` (with `describe`) from `source`; members that the source does not name keep their initializers.
template <typename T>
[[nodiscard]] T load(const Source& source, const std::function<std::vector<std::string>(const T&)>& rules = nullptr) {
  T value{};
  const auto sample = std::make_unique<T>();  // GCC 12 takes one on the stack for used uninitialized
  read(
      source, [&](Visitor& visitor) { value.describe(visitor); }, [&](Visitor& visitor) { sample->describe(visitor); },
      [&] { return rules ? rules(value) : std::vector<std::string>{}; });
  return value;
}

}  // namespace dormer::config
