#include <array>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "report/escape.hpp"
#include "report/plot.hpp"
#include "report/scale.hpp"

namespace dormer::report {
namespace {

std::string_view mark_name(Mark mark) {
  constexpr std::array<std::string_view, 4> kNames{"line", "steps", "points", "bars"};
  return kNames.at(static_cast<std::size_t>(mark));
}

/// What is as usual is left out.
std::string script_series(const Series& series) {
  std::string text = fmt::format("{{\"name\":{},\"mark\":\"{}\",\"x\":{},\"y\":{}", script_string(series.name),
                                 mark_name(series.mark), script_numbers(series.x, 10), script_numbers(series.y, 7));
  text += series.labels.empty() ? "" : ",\"labels\":" + script_strings(series.labels);
  text += series.labels_tell_all ? ",\"tellAll\":true" : "";
  text += series.listed ? "" : ",\"unlisted\":true";
  text += series.colour.empty() ? "" : ",\"colour\":" + script_string(series.colour);
  text += series.base.empty() ? "" : ",\"base\":" + script_numbers(series.base, 10);
  return text + "}";
}

std::string script_axis(std::string_view name, const std::string& label, const Axis& axis, const Range& range) {
  std::string text = fmt::format(",\"{}\":{{\"label\":{}", name, script_string(label));
  if (axis.log) {
    const std::vector<double> values = log_ticks(range.low, range.high);
    std::vector<std::string> texts;
    for (const double value : values) {
      texts.push_back(log_tick_text(value));
    }
    text += fmt::format(",\"log\":true,\"ticks\":{},\"texts\":{}", script_numbers(values, 10), script_strings(texts));
  }
  text += axis.named() ? ",\"categories\":" + script_strings(axis.categories) : "";
  return text + "}";
}

}  // namespace

std::string script_data(const Plot& plot) {
  std::string series;
  Range x;
  Range y;
  for (const Series& one : plot.series) {
    x.include(one.x);
    y.include(one.y);
    series += (series.empty() ? "" : ",") + script_series(one);
  }
  return fmt::format("{{\"id\":{}{}{}{}{},\"series\":[{}]}}", script_string(plot.id),
                     script_axis("x", plot.x_label, plot.x_axis, x), script_axis("y", plot.y_label, plot.y_axis, y),
                     plot.sideways ? ",\"sideways\":true" : "", plot.small ? ",\"small\":true" : "", series);
}

}  // namespace dormer::report
