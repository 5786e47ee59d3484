#include "config/range_text.hpp"

#include <fmt/ranges.h>

#include "config/scalar_text.hpp"

namespace dormer::config {

std::string range_text(const Field& field) {
  const std::string low = field.min ? number_text(*field.min, NumberStyle::kPlain) : "";
  const std::string high = field.max ? number_text(*field.max, NumberStyle::kPlain) : "";
  if (field.min && field.max && !field.exclusive_min) {
    return fmt::format("between {} and {}", low, high);
  }
  std::string result = field.min ? fmt::format("{} {}", field.exclusive_min ? "above" : "at least", low) : "";
  if (field.max) {
    result += fmt::format("{}at most {}", result.empty() ? "" : " and ", high);
  }
  return result;
}

std::string allowed_text(const Field& field) {
  return field.choices.empty() ? range_text(field) : fmt::format("{}", fmt::join(field.choices, ", "));
}

bool in_range(double value, const Field& field) {
  const bool low = field.min && (field.exclusive_min ? value <= *field.min : value < *field.min);
  return !low && !(field.max && value > *field.max);
}

}  // namespace dormer::config
