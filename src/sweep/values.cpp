#include "sweep/values.hpp"

#include <charconv>
#include <cmath>

#include <fmt/format.h>

namespace dormer::sweep {

std::optional<double> number_of(std::string_view text) {
  if (text.size() > 1 && text.front() == '+' && text[1] != '-' && text[1] != '+') {
    text.remove_prefix(1);
  }
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole_text = error == std::errc{} && end == text.data() + text.size();
  return whole_text && std::isfinite(value) ? std::optional(value) : std::nullopt;
}

std::string number_text(double value) {
  return fmt::format("{}", value == 0.0 ? 0.0 : value);  // no "-0"
}

bool same_value(std::string_view one, std::string_view other) {
  if (one == other) {
    return true;
  }
  const std::optional<double> number = number_of(one);
  return number && number == number_of(other);
}

double twelve_digits(double value) {
  return number_of(fmt::format("{:.12g}", value)).value_or(value);
}

}  // namespace dormer::sweep
