#include "report/scale.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace dormer::report {
namespace {

constexpr double kPadding = 0.04;            // of the range, around the values
constexpr double kPlainNumbers = 1e5;        // larger numbers stand with an exponent
constexpr double kSmallestPlain = 0.999e-4;  // and so do steps below this
constexpr double kSmallestPlainLog = 0.999e-2;
constexpr double kPlainLogs = 0.999e4;
constexpr double kLetterWidth = 6.5;  // of 12 units, on average
constexpr std::size_t kMostNames = 24;
constexpr double kFewDecades = 2.7;  // fives and doubles find room

bool begins_a_letter(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U;
}

}  // namespace

std::vector<double> ticks(double low, double high) {
  const double rough = (high - low) / 5.0;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  const double factor = rough / power;
  const double step = power * (factor < 1.5 ? 1.0 : factor < 3.5 ? 2.0 : factor < 7.5 ? 5.0 : 10.0);
  std::vector<double> values;
  for (double index = std::ceil(low / step); index * step <= high; index += 1.0) {
    values.push_back(index * step);
  }
  return values;
}

std::vector<double> log_ticks(double low, double high) {
  const double decades = std::log10(high / low);
  if (decades < 1.0) {
    return ticks(low, high);
  }
  const double stride = std::ceil(decades / 7.0);
  std::vector<double> values;
  for (double power = std::floor(std::log10(low)); power <= std::ceil(std::log10(high)); power += stride) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      const double value = factor * std::pow(10.0, power);
      if (value >= low && value <= high && (factor == 1.0 || decades < kFewDecades)) {
        values.push_back(value);
      }
    }
  }
  return values;
}

std::string tick_text(double value, double step) {
  if (std::abs(value) >= kPlainNumbers || step < kSmallestPlain) {
    return fmt::format("{:.6g}", std::abs(value) < step * 1e-6 ? 0.0 : value);
  }
  const int decimals = std::max(0, static_cast<int>(-std::floor(std::log10(step) + 1e-9)));
  const std::string text = fmt::format("{:.{}f}", value, decimals);
  return text.find_first_not_of("-0.") == std::string::npos ? fmt::format("{:.{}f}", 0.0, decimals) : text;
}

std::string log_tick_text(double value) {
  if (value >= kSmallestPlainLog && value < kPlainLogs) {
    return fmt::format("{:.4g}", value);
  }
  const double power = std::floor(std::log10(value) + 1e-9);
  return fmt::format("{:.4g}e{:.0f}", value / std::pow(10.0, power), power);
}

void Range::include(double value) {
  low = std::min(low, value);
  high = std::max(high, value);
}

void Range::include(const std::vector<double>& values) {
  for (const double value : values) {
    include(value);
  }
}

Range Range::padded() const {
  const double padding = high > low ? kPadding * (high - low) : (high != 0.0 ? 0.05 * std::abs(high) : 1.0);
  return {low - padding, high + padding};
}

double Scale::at(double value) const {
  const double place = log ? std::log10(value) : value;
  return begin + (place - range.low) / (range.high - range.low) * (end - begin);
}

std::size_t name_stride(std::size_t names) {
  return std::max<std::size_t>(1, (names + kMostNames - 1) / kMostNames);
}

double text_width(const std::string& text) {
  return kLetterWidth * static_cast<double>(std::ranges::count_if(text, begins_a_letter));
}

std::string shortened(const std::string& text, std::size_t letters) {
  std::size_t count = 0;
  std::size_t cut = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (begins_a_letter(text[i]) && ++count == letters) {
      cut = i;
    }
  }
  return count <= letters ? text : text.substr(0, cut) + "…";
}

}  // namespace dormer::report
