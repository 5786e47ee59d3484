#include "report/plot.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace dormer::report {
namespace {

constexpr double kWidth = 760.0;
constexpr double kHeight = 320.0;
constexpr double kLeft = 72.0;
constexpr double kRight = 14.0;
constexpr double kTop = 12.0;
constexpr double kBottom = 46.0;
constexpr std::size_t kColours = 8;          // of the page's style
constexpr std::size_t kFewPoints = 40;       // a line of so few shows its points
constexpr double kPadding = 0.04;            // of the range, around the values
constexpr double kPlainNumbers = 1e5;        // larger numbers stand with an exponent
constexpr double kSmallestPlain = 0.999e-4;  // and so do steps below this

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void include(const std::vector<double>& values) {
    for (const double value : values) {
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  [[nodiscard]] Range padded() const {
    const double padding = high > low ? kPadding * (high - low) : (high != 0.0 ? 0.05 * std::abs(high) : 1.0);
    return {low - padding, high + padding};
  }
};

/// From values to the picture's units.
struct Scale {
  Range x;
  Range y;
  [[nodiscard]] double across(double value) const {
    return kLeft + (value - x.low) / (x.high - x.low) * (kWidth - kLeft - kRight);
  }
  [[nodiscard]] double down(double value) const {
    return kHeight - kBottom - (value - y.low) / (y.high - y.low) * (kHeight - kTop - kBottom);
  }
};

std::string tick_text(double value, double step) {
  if (std::abs(value) >= kPlainNumbers || step < kSmallestPlain) {
    return fmt::format("{:.6g}", std::abs(value) < step * 1e-6 ? 0.0 : value);
  }
  const int decimals = std::max(0, static_cast<int>(-std::floor(std::log10(step) + 1e-9)));
  const std::string text = fmt::format("{:.{}f}", value, decimals);
  return text.find_first_not_of("-0.") == std::string::npos ? fmt::format("{:.{}f}", 0.0, decimals) : text;
}

double step_of(const std::vector<double>& values) {
  return values.size() > 1 ? values[1] - values[0] : 1.0;
}

std::string axes(const Plot& plot, const Scale& scale) {
  std::string text;
  auto out = std::back_inserter(text);
  const std::vector<double> across = ticks(scale.x.low, scale.x.high);
  for (const double value : across) {
    fmt::format_to(out, "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>", scale.across(value),
                   kHeight - kBottom + 18.0, tick_text(value, step_of(across)));
  }
  const std::vector<double> up = ticks(scale.y.low, scale.y.high);
  for (const double value : up) {
    fmt::format_to(out, "<path class=\"grid\" d=\"M{:.1f} {:.1f}H{:.1f}\"/>", kLeft, scale.down(value),
                   kWidth - kRight);
    fmt::format_to(out, "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>", kLeft - 8.0,
                   scale.down(value) + 4.0, tick_text(value, step_of(up)));
  }
  fmt::format_to(out, "<path class=\"axis\" d=\"M{:.1f} {:.1f}V{:.1f}H{:.1f}\"/>", kLeft, kTop, kHeight - kBottom,
                 kWidth - kRight);
  fmt::format_to(out, "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>",
                 (kLeft + kWidth - kRight) / 2.0, kHeight - 8.0, escaped(plot.x_label));
  fmt::format_to(out, "<text transform=\"translate(14 {:.1f}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
                 (kTop + kHeight - kBottom) / 2.0, escaped(plot.y_label));
  return text;
}

std::string drawn(const Series& series, std::size_t index, const Scale& scale) {
  std::string text;
  auto out = std::back_inserter(text);
  const std::size_t colour = index % kColours;
  if (series.is_line() && series.x.size() > 1) {
    fmt::format_to(out, "<path class=\"line c{} d{}\" d=\"", colour, index / kColours % 4);
    for (std::size_t i = 0; i < series.x.size(); ++i) {
      fmt::format_to(out, "{}{:.1f} {:.1f}", i == 0 ? "M" : "L", scale.across(series.x[i]), scale.down(series.y[i]));
    }
    text += "\"/>";
  }
  if (!series.is_line() || series.x.size() <= kFewPoints) {
    for (std::size_t i = 0; i < series.x.size(); ++i) {
      fmt::format_to(out, "<circle class=\"point c{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\">", colour,
                     scale.across(series.x[i]), scale.down(series.y[i]), series.is_line() ? "2.5" : "4");
      const std::string& label = series.is_line() ? series.name : series.labels[i];
      fmt::format_to(out, "<title>{}: {:.6g}, {:.6g}</title></circle>", escaped(label), series.x[i], series.y[i]);
    }
  }
  return text;
}

std::string numbers(const std::vector<double>& values, int digits) {
  std::string text = "[";
  for (const double value : values) {
    fmt::format_to(std::back_inserter(text), "{}{:.{}g}", text.size() > 1 ? "," : "", value, digits);
  }
  return text + "]";
}

/// A JSON string that cannot end the script element around it.
std::string quoted(const std::string& text) {
  std::string json = nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  for (std::size_t at = json.find('<'); at != std::string::npos; at = json.find('<', at)) {
    json.replace(at, 1, "\\u003c");
  }
  return json;
}

std::string script_series(const Series& series) {
  std::string labels = "[";
  for (const std::string& label : series.labels) {
    labels += (labels.size() > 1 ? "," : "") + quoted(label);
  }
  return fmt::format("{{\"name\":{},\"x\":{},\"y\":{},\"labels\":{}]}}", quoted(series.name), numbers(series.x, 10),
                     numbers(series.y, 7), labels);
}

}  // namespace

bool Plot::empty() const {
  return std::ranges::all_of(series, [](const Series& one) { return one.x.empty(); });
}

Series thinned(const Series& line, std::size_t most) {
  if (line.x.size() <= most || !line.is_line()) {
    return line;
  }
  Series result{.name = line.name, .x = {}, .y = {}, .labels = {}};
  const auto keep = [&](std::size_t index) {
    result.x.push_back(line.x[index]);
    result.y.push_back(line.y[index]);
  };
  keep(0);
  const std::size_t inner = line.x.size() - 2;  // between the ends
  const std::size_t stretches = std::max<std::size_t>(1, most / 2 - 1);
  for (std::size_t stretch = 0; stretch < stretches; ++stretch) {
    const auto first = line.y.begin() + static_cast<std::ptrdiff_t>(1 + stretch * inner / stretches);
    const auto last = line.y.begin() + static_cast<std::ptrdiff_t>(1 + (stretch + 1) * inner / stretches);
    if (first == last) {
      continue;
    }
    const auto [smallest, largest] = std::minmax_element(first, last);
    const auto low = static_cast<std::size_t>(smallest - line.y.begin());
    const auto high = static_cast<std::size_t>(largest - line.y.begin());
    keep(std::min(low, high));
    if (low != high) {
      keep(std::max(low, high));
    }
  }
  keep(line.x.size() - 1);
  return result;
}

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

std::string svg(const Plot& plot) {
  Scale scale;
  for (const Series& series : plot.series) {
    scale.x.include(series.x);
    scale.y.include(series.y);
  }
  scale.x = scale.x.padded();
  scale.y = scale.y.padded();
  std::string text =
      fmt::format("<svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-labelledby=\"{}-title {}-summary\">", kWidth,
                  kHeight, plot.id, plot.id);
  text += axes(plot, scale);
  for (std::size_t i = 0; i < plot.series.size(); ++i) {
    text += drawn(plot.series[i], i, scale);
  }
  return text + "</svg>";
}

std::string script_data(const std::vector<Plot>& plots) {
  std::string text = "[";
  for (const Plot& plot : plots) {
    std::string series;
    for (const Series& one : plot.series) {
      series += (series.empty() ? "" : ",") + script_series(one);
    }
    fmt::format_to(std::back_inserter(text), "{}{{\"id\":{},\"x\":{},\"y\":{},\"series\":[{}]}}",
                   text.size() > 1 ? ",\n" : "", quoted(plot.id), quoted(plot.x_label), quoted(plot.y_label), series);
  }
  return text + "]";
}

std::string escaped(std::string_view text) {
  std::string result;
  for (const char character : text) {
    switch (character) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      case '\'':
        result += "&#39;";
        break;
      default:
        result += character;
    }
  }
  return result;
}

}  // namespace dormer::report
