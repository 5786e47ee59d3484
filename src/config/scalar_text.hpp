#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "dormer/config/values.hpp"

namespace dormer::config {

/// kPlain: "15". kYaml: a float for every YAML reader, "15.0" and "1.0e-08".
enum class NumberStyle { kPlain, kYaml };

/// The shortest digits that read back as the same double.
[[nodiscard]] std::string number_text(double value, NumberStyle style);

/// A text as a YAML scalar: plain where no reader can mistake it, else in double quotes.
[[nodiscard]] std::string quoted_where_needed(std::string_view text);

// The one canonical YAML text of every type of value; equal values have equal texts.
[[nodiscard]] std::string scalar_text(bool value);
[[nodiscard]] std::string scalar_text(std::int64_t value);
[[nodiscard]] std::string scalar_text(double value);
[[nodiscard]] std::string scalar_text(const std::string& value);
[[nodiscard]] std::string scalar_text(const std::filesystem::path& value);
[[nodiscard]] std::string scalar_text(const std::vector<std::string>& values);
[[nodiscard]] std::string scalar_text(const std::vector<double>& values);
[[nodiscard]] std::string scalar_text(const Cadence& value);
[[nodiscard]] std::string scalar_text(const StepsOrShare& value);
[[nodiscard]] std::string scalar_text(const Expression& value);
[[nodiscard]] std::string scalar_text(const Duration& value);

template <typename T>
[[nodiscard]] std::string scalar_text(const std::optional<T>& value) {
  return value ? scalar_text(*value) : "null";
}

}  // namespace dormer::config
