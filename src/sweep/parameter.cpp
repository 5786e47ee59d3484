#include <algorithm>
#include <cmath>

#include <fmt/ranges.h>

#include "dormer/core/error.hpp"
#include "dormer/sweep/space.hpp"
#include "sweep/values.hpp"

namespace dormer::sweep {
namespace {

constexpr std::int64_t kMostGridValues = 10'000;

/// How many values a stepped dimension has. `high` is one of them but for rounding.
std::int64_t lattice_size(const Parameter& parameter) {
  return static_cast<std::int64_t>(std::floor((parameter.high - parameter.low) / parameter.step + 1e-9)) + 1;
}

double lattice_value(const Parameter& parameter, std::int64_t index) {
  const double value = parameter.low + static_cast<double>(index) * parameter.step;
  return std::clamp(parameter.kind == Parameter::Kind::kWhole ? value : twelve_digits(value), parameter.low,
                    parameter.high);
}

/// Where `share` of the way from one end to the other lies, in the logarithm where it is logarithmic.
double between(const Parameter& parameter, double low, double high, double share) {
  if (parameter.logarithmic) {
    return std::exp(std::log(low) + share * (std::log(high) - std::log(low)));
  }
  return low + share * (high - low);
}

}  // namespace

bool Condition::holds(const Point& point) const {
  return std::ranges::any_of(point, [&](const Setting& setting) {
    return setting.path == path &&
           std::ranges::any_of(values, [&](const std::string& value) { return same_value(value, setting.text); });
  });
}

std::vector<std::string> Parameter::paths() const {
  std::vector<std::string> result;
  for (const Setting& setting : settings(low)) {
    result.push_back(setting.path);
  }
  return result;
}

std::string text_of(const std::vector<Condition>& conditions) {
  std::string text;
  for (const Condition& condition : conditions) {
    text += fmt::format("; where {} is {}", condition.path, fmt::join(condition.values, " or "));
  }
  return text;
}

double Parameter::quantile(double unit) const {
  const auto index = [&](std::int64_t count) {
    return std::min(static_cast<std::int64_t>(unit * static_cast<double>(count)), count - 1);
  };
  if (kind == Kind::kOptions) {
    return static_cast<double>(index(static_cast<std::int64_t>(options.size())));
  }
  if (step > 0.0 && !logarithmic) {
    return lattice_value(*this, index(lattice_size(*this)));
  }
  if (kind == Kind::kWhole) {  // half a step beyond both ends, so that the ends are as likely as the others
    return std::clamp(std::round(between(*this, low - 0.5, high + 0.5, unit)), low, high);
  }
  return std::clamp(between(*this, low, high, unit), low, high);
}

double Parameter::nearest(double value) const {
  if (step == 0.0) {
    return std::clamp(value, low, high);
  }
  const double index = std::nearbyint((std::clamp(value, low, high) - low) / step);
  return lattice_value(*this, static_cast<std::int64_t>(index));
}

std::vector<double> Parameter::grid() const {
  std::vector<double> values;
  if (kind == Kind::kOptions) {
    for (std::size_t index = 0; index < options.size(); ++index) {
      values.push_back(static_cast<double>(index));
    }
  } else if (steps) {
    for (std::int64_t index = 0; index < *steps; ++index) {
      const double share = static_cast<double>(index) / static_cast<double>(*steps - 1);
      const double value = twelve_digits(between(*this, low, high, share));
      values.push_back(index == 0             ? low
                       : index == *steps - 1  ? high
                       : kind == Kind::kWhole ? std::round(value)
                                              : value);
    }
    values.erase(std::unique(values.begin(), values.end()), values.end());  // whole numbers may meet
  } else if (step > 0.0 && lattice_size(*this) <= kMostGridValues) {
    for (std::int64_t index = 0; index < lattice_size(*this); ++index) {
      values.push_back(lattice_value(*this, index));
    }
  }
  return values;
}

std::vector<Setting> Parameter::settings(double coordinate) const {
  if (kind != Kind::kOptions) {
    return {{name, number_text(coordinate)}};
  }
  const auto index = static_cast<std::size_t>(coordinate);
  invariant(coordinate >= 0.0 && index < options.size(), "option {} of {}", coordinate, name);
  return options[index].settings;
}

std::string Parameter::label(double coordinate) const {
  if (kind != Kind::kOptions) {
    return number_text(coordinate);
  }
  const auto index = static_cast<std::size_t>(coordinate);
  invariant(coordinate >= 0.0 && index < options.size(), "option {} of {}", coordinate, name);
  return options[index].label;
}

std::string Parameter::description() const {
  std::string text = name + ": ";
  if (kind == Kind::kOptions) {
    std::vector<std::string> labels;
    for (const Option& option : options) {
      labels.push_back(option.label);
    }
    text += fmt::format("{}", fmt::join(labels, ", "));
  } else {
    text += fmt::format("{}{} to {}", kind == Kind::kWhole ? "whole, " : "", number_text(low), number_text(high));
    text += logarithmic ? ", logarithmic" : "";
    text += step > 0.0 && !(kind == Kind::kWhole && step == 1.0) ? ", in steps of " + number_text(step) : "";
    text += steps ? fmt::format(", a grid of {}", *steps) : "";
  }
  return text + text_of(when);
}

}  // namespace dormer::sweep
