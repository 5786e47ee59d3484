#include "dormer/config/values.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <utility>

#include "config/scalar_text.hpp"

namespace dormer::config {
namespace {

constexpr std::array<std::pair<std::string_view, double>, 3> kTimeUnits{{{"h", 3600.0}, {"min", 60.0}, {"s", 1.0}}};
constexpr double kRoundingSlack = 1e-9;  // 0.07 * 100 is 7.000000000000001: not a reason for an eighth step

struct Measure {
  double amount;
  std::string_view unit;
};

bool is_null(std::string_view text) {
  return text.empty() || text == "null" || text == "~";
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t";
  const std::size_t first = text.find_first_not_of(kSpace);
  return first == std::string_view::npos ? std::string_view{}
                                         : text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

/// "15 min" to a finite amount that is not negative, and what follows it.
std::optional<Measure> parse_measure(std::string_view text) {
  text = trimmed(text);
  double amount = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), amount);
  if (error != std::errc{} || !std::isfinite(amount) || amount < 0.0) {
    return std::nullopt;
  }
  return Measure{amount, trimmed(text.substr(static_cast<std::size_t>(end - text.data())))};
}

std::optional<double> seconds_in(std::string_view unit) {
  for (const auto& [name, seconds] : kTimeUnits) {
    if (name == unit) {
      return seconds;
    }
  }
  return std::nullopt;
}

std::string seconds_text(double seconds) {
  for (const auto& [name, unit] : kTimeUnits) {
    if (std::fmod(seconds, unit) == 0.0) {
      return number_text(seconds / unit, NumberStyle::kPlain) + " " + std::string(name);
    }
  }
  return number_text(seconds, NumberStyle::kPlain) + " s";
}

bool is_whole(double value) {
  return std::floor(value) == value && value < 9.0e15;
}

}  // namespace

std::optional<Cadence> Cadence::parse(std::string_view text) {
  if (is_null(trimmed(text))) {
    return never();
  }
  const std::optional<Measure> measure = parse_measure(text);
  if (!measure) {
    return std::nullopt;
  }
  if (measure->amount == 0.0) {
    return never();
  }
  if (measure->unit.empty()) {
    return is_whole(measure->amount) ? std::optional(Cadence{Unit::kSteps, measure->amount}) : std::nullopt;
  }
  if (measure->unit == "epoch" || measure->unit == "epochs") {
    return Cadence{Unit::kEpochs, measure->amount};
  }
  const std::optional<double> unit = seconds_in(measure->unit);
  return unit ? std::optional(Cadence{Unit::kSeconds, measure->amount * *unit}) : std::nullopt;
}

std::string Cadence::text() const {
  switch (unit) {
    case Unit::kNever:
      return "null";
    case Unit::kSteps:
      return number_text(amount, NumberStyle::kPlain);
    case Unit::kEpochs:
      return number_text(amount, NumberStyle::kPlain) + (amount == 1.0 ? " epoch" : " epochs");
    case Unit::kSeconds:
      return seconds_text(amount);
  }
  return "null";
}

std::int64_t StepsOrShare::steps_of(std::int64_t total) const {
  return share ? static_cast<std::int64_t>(std::ceil(amount * static_cast<double>(total) - kRoundingSlack))
               : static_cast<std::int64_t>(amount);
}

std::optional<StepsOrShare> StepsOrShare::parse(std::string_view text) {
  const std::optional<Measure> measure = parse_measure(text);
  if (!measure) {
    return std::nullopt;
  }
  if (measure->unit == "%") {
    return measure->amount <= 100.0 ? std::optional(StepsOrShare{measure->amount / 100.0, true}) : std::nullopt;
  }
  return measure->unit.empty() && is_whole(measure->amount) ? std::optional(StepsOrShare{measure->amount, false})
                                                            : std::nullopt;
}

std::string StepsOrShare::text() const {
  return share ? fmt::format("{:.10g}%", amount * 100.0) : number_text(amount, NumberStyle::kPlain);
}

std::optional<Duration> Duration::parse(std::string_view text) {
  text = trimmed(text);
  if (is_null(text)) {
    return Duration{};
  }
  if (text == "auto") {
    return Duration{.seconds = std::nullopt, .automatic = true};
  }
  const std::optional<Measure> measure = parse_measure(text);
  if (!measure) {
    return std::nullopt;
  }
  const std::optional<double> unit = measure->unit.empty() ? std::optional(1.0) : seconds_in(measure->unit);
  return unit ? std::optional(Duration{.seconds = measure->amount * *unit, .automatic = false}) : std::nullopt;
}

std::string Duration::text() const {
  if (automatic) {
    return "auto";
  }
  return seconds ? seconds_text(*seconds) : "null";
}

}  // namespace dormer::config
