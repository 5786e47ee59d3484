#include "report/parallel.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>

#include <fmt/format.h>

#include "report/escape.hpp"
#include "report/scale.hpp"

namespace dormer::report {
namespace {

constexpr double kWidth = 760.0;
constexpr double kHeight = 420.0;
constexpr double kLeft = 26.0;
constexpr double kRight = 62.0;  // for the ticks of the last axis
constexpr double kTop = 50.0;    // for two rows of names
constexpr double kBottom = 16.0;
constexpr double kRow = 18.0;
constexpr std::size_t kAxesInOneRow = 5;
constexpr std::size_t kTickLetters = 14;

double across(const Parallel& plot, std::size_t axis) {
  const auto last = static_cast<double>(std::max<std::size_t>(1, plot.axes.size() - 1));
  return kLeft + static_cast<double>(axis) / last * (kWidth - kLeft - kRight);
}

double down(double height) {
  return kHeight - kBottom - height * (kHeight - kTop - kBottom);
}

std::string drawn(const Parallel& plot, const ParallelLine& line) {
  std::string path;
  auto out = std::back_inserter(path);
  for (std::size_t i = 0; i < line.heights.size() && std::isfinite(line.heights[i]); ++i) {
    const double x = across(plot, i);
    const double y = down(line.heights[i]);
    if (i == 0) {
      fmt::format_to(out, "M{:.0f} {:.1f}", x, y);
    } else {  // leaves and arrives level, so that lines that meet can be told apart
      const double middle = 0.5 * (across(plot, i - 1) + x);
      fmt::format_to(out, "C{:.0f} {:.1f} {:.0f} {:.1f} {:.0f} {:.1f}", middle, down(line.heights[i - 1]), middle, y, x,
                     y);
    }
  }
  return fmt::format("<path class=\"trial {}\" d=\"{}\"><title>{}</title></path>", line.colour, path,
                     escaped(line.label));
}

std::string axis_text(const Parallel& plot, std::size_t index) {
  const ParallelAxis& axis = plot.axes[index];
  const double x = across(plot, index);
  const bool two_rows = plot.axes.size() > kAxesInOneRow;
  const double room = (two_rows ? 2.0 : 1.0) * (kWidth - kLeft - kRight) / static_cast<double>(plot.axes.size());
  const char* anchor = index == 0 ? "start" : index + 1 == plot.axes.size() ? "end" : "middle";
  std::string text = fmt::format("<path class=\"axis\" d=\"M{:.1f} {:.1f}V{:.1f}\"/>", x, down(1.0), down(0.0));
  fmt::format_to(std::back_inserter(text),
                 "<text class=\"name\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}<title>{}</title></text>",
                 index == 0                      ? 4.0
                 : index + 1 == plot.axes.size() ? kWidth - 4.0
                                                 : x,
                 kTop - 14.0 - (two_rows && index % 2 == 1 ? kRow : 0.0), anchor,
                 escaped(shortened(axis.name, static_cast<std::size_t>(std::max(4.0, room / 7.0)))),
                 escaped(axis.full_name));
  for (const auto& [height, tick] : axis.ticks) {
    fmt::format_to(std::back_inserter(text), "<path class=\"axis\" d=\"M{:.1f} {:.1f}h4\"/>", x, down(height));
    fmt::format_to(std::back_inserter(text), "<text class=\"halo\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>", x + 7.0,
                   down(height) + 4.0, escaped(shortened(tick, kTickLetters)));
  }
  return text;
}

}  // namespace

std::string svg(const Parallel& plot) {
  std::string text =
      fmt::format("<svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-labelledby=\"{}-title {}-summary\">", kWidth,
                  kHeight, plot.id, plot.id);
  for (const ParallelLine& line : plot.lines) {
    text += drawn(plot, line);
  }
  for (std::size_t i = 0; i < plot.axes.size(); ++i) {
    text += axis_text(plot, i);
  }
  return text + "</svg>";
}

std::string script_data(const Parallel& plot) {
  std::string axes;
  for (const ParallelAxis& axis : plot.axes) {
    std::string ticks;
    for (const auto& [height, tick] : axis.ticks) {
      ticks +=
          fmt::format("{}[{:.4f},{}]", ticks.empty() ? "" : ",", height, script_string(shortened(tick, kTickLetters)));
    }
    axes += fmt::format("{}{{\"name\":{},\"ticks\":[{}]}}", axes.empty() ? "" : ",", script_string(axis.name), ticks);
  }
  std::string lines;
  for (const ParallelLine& line : plot.lines) {
    lines += fmt::format("{}{{\"label\":{},\"colour\":{},\"heights\":{},\"texts\":{}}}", lines.empty() ? "" : ",\n",
                         script_string(line.label), script_string(line.colour), script_numbers(line.heights, 4),
                         script_strings(line.texts));
  }
  return fmt::format("{{\"id\":{},\"axes\":[{}],\"lines\":[{}]}}", script_string(plot.id), axes, lines);
}

}  // namespace dormer::report
