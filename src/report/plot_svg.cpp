#include <algorithm>
#include <cmath>
#include <iterator>

#include <fmt/format.h>

#include "report/escape.hpp"
#include "report/plot.hpp"
#include "report/scale.hpp"

namespace dormer::report {
namespace {

constexpr double kWide = 760.0;
constexpr double kSmall = 372.0;
constexpr double kLeft = 72.0;
constexpr double kLeftOfSmall = 58.0;
constexpr double kRight = 14.0;
constexpr double kTop = 12.0;
constexpr double kBottom = 46.0;
constexpr double kBottomUnnamed = 28.0;     // without a name of the axis
constexpr double kMostNames = 0.42;         // of the width, for names beside the picture
constexpr std::size_t kFewPoints = 40;      // a line of so few shows its points
constexpr std::size_t kTurnedLetters = 18;  // of names that stand aslant
constexpr double kHalfBar = 0.36;           // of the distance between two

struct Tick {
  double value = 0.0;
  std::string text;
};

struct Frame {
  double width = kWide;
  double height = 0.0;
  double left = kLeft;
  double bottom = kBottom;
  bool turned = false;  ///< names below the picture stand aslant
  Scale x;
  Scale y;
  std::vector<Tick> across;
  std::vector<Tick> up;
  [[nodiscard]] double floor() const { return height - bottom; }
  [[nodiscard]] double wall() const { return width - kRight; }
};

Range range_of(const Plot& plot, bool of_x) {
  const Axis& axis = of_x ? plot.x_axis : plot.y_axis;
  if (axis.named()) {
    return {-0.5, static_cast<double>(axis.categories.size()) - 0.5};
  }
  Range range;
  bool from_zero = false;
  for (const Series& series : plot.series) {
    range.include(of_x ? series.x : series.y);
    if (series.mark == Mark::kBars && plot.sideways == of_x) {
      range.include(series.base);
      range.include(0.0);
      from_zero = range.low >= 0.0;
    }
  }
  if (axis.log) {
    range = {std::log10(range.low), std::log10(range.high)};
  }
  const Range padded = range.padded();
  return {from_zero ? 0.0 : padded.low, padded.high};
}

std::vector<Tick> ticks_of(const Axis& axis, const Range& range) {
  std::vector<Tick> result;
  for (std::size_t i = 0; i < axis.categories.size(); i += name_stride(axis.categories.size())) {
    result.push_back({static_cast<double>(i), axis.categories[i]});
  }
  if (axis.named()) {
    return result;
  }
  const std::vector<double> values =
      axis.log ? log_ticks(std::pow(10.0, range.low), std::pow(10.0, range.high)) : ticks(range.low, range.high);
  const double step = values.size() > 1 ? values[1] - values[0] : 1.0;
  for (const double value : values) {
    result.push_back({value, axis.log ? log_tick_text(value) : tick_text(value, step)});
  }
  return result;
}

double widest(const std::vector<Tick>& ticks) {
  double width = 0.0;
  for (const Tick& tick : ticks) {
    width = std::max(width, text_width(tick.text));
  }
  return width;
}

Frame frame_of(const Plot& plot) {
  Frame frame;
  frame.width = plot.small ? kSmall : kWide;
  frame.height = plot.height;
  const Range x = range_of(plot, true);
  const Range y = range_of(plot, false);
  frame.across = ticks_of(plot.x_axis, x);
  frame.up = ticks_of(plot.y_axis, y);
  frame.bottom = plot.x_label.empty() ? kBottomUnnamed : kBottom;
  const double label = plot.y_label.empty() ? 8.0 : 24.0;
  frame.left = std::clamp(label + widest(frame.up) + 10.0, plot.small ? kLeftOfSmall : kLeft, kMostNames * frame.width);
  if (plot.x_axis.named()) {
    const double room = (frame.wall() - frame.left) / static_cast<double>(frame.across.size());
    frame.turned = widest(frame.across) + 8.0 > room;
    if (frame.turned) {
      frame.bottom += 0.5 * std::min(widest(frame.across), 6.5 * kTurnedLetters);
    }
  }
  frame.x = {.range = x, .begin = frame.left, .end = frame.wall(), .log = plot.x_axis.log};
  frame.y = {.range = y, .begin = frame.floor(), .end = kTop, .log = plot.y_axis.log};
  if (plot.y_axis.named()) {  // read from the top
    std::swap(frame.y.begin, frame.y.end);
  }
  return frame;
}

std::string tick_texts(const Plot& plot, const Frame& frame) {
  std::string text;
  auto out = std::back_inserter(text);
  double free = 0.0;  // where the next text may begin
  for (const Tick& tick : frame.across) {
    const double x = frame.x.at(tick.value);
    const double half = 0.5 * text_width(tick.text);
    if (plot.y_axis.named()) {
      fmt::format_to(out, "<path class=\"grid\" d=\"M{:.1f} {:.1f}V{:.1f}\"/>", x, kTop, frame.floor());
    }
    if (frame.turned) {
      fmt::format_to(out, "<text transform=\"translate({:.1f} {:.1f}) rotate(-30)\" text-anchor=\"end\">{}</text>",
                     x + 6.0, frame.floor() + 16.0, escaped(shortened(tick.text, kTurnedLetters)));
    } else if (x - half >= free) {
      fmt::format_to(out, "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>",
                     std::min(x, frame.width - half), frame.floor() + 18.0, escaped(tick.text));
      free = x + half + 6.0;
    }
  }
  const auto letters = static_cast<std::size_t>((frame.left - 12.0) / 6.5);
  for (const Tick& tick : frame.up) {
    const double y = frame.y.at(tick.value);
    if (!plot.y_axis.named()) {
      fmt::format_to(out, "<path class=\"grid\" d=\"M{:.1f} {:.1f}H{:.1f}\"/>", frame.left, y, frame.wall());
    }
    fmt::format_to(out, "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>", frame.left - 8.0, y + 4.0,
                   escaped(shortened(tick.text, letters)));
  }
  return text;
}

std::string axes(const Plot& plot, const Frame& frame) {
  std::string text = tick_texts(plot, frame);
  auto out = std::back_inserter(text);
  fmt::format_to(out, "<path class=\"axis\" d=\"M{:.1f} {:.1f}V{:.1f}H{:.1f}\"/>", frame.left, kTop, frame.floor(),
                 frame.wall());
  fmt::format_to(out, "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>",
                 (frame.left + frame.wall()) / 2.0, frame.height - 8.0, escaped(plot.x_label));
  if (!plot.y_label.empty()) {
    fmt::format_to(out, "<text transform=\"translate(14 {:.1f}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
                   (kTop + frame.floor()) / 2.0, escaped(plot.y_label));
  }
  return text;
}

std::string line(const Series& series, std::size_t index, const Frame& frame) {
  const std::size_t dash = series.colour.empty() ? index / 8 % 4 : 0;
  std::string text = fmt::format("<path class=\"line {} d{}\" d=\"", colour_of(series, index), dash);
  for (std::size_t i = 0; i < series.x.size(); ++i) {
    const double x = frame.x.at(series.x[i]);
    const double y = frame.y.at(series.y[i]);
    if (i > 0 && series.mark == Mark::kSteps) {
      fmt::format_to(std::back_inserter(text), "H{:.1f}V{:.1f}", x, y);
    } else {
      fmt::format_to(std::back_inserter(text), "{}{:.1f} {:.1f}", i == 0 ? "M" : "L", x, y);
    }
  }
  return text + (series.listed ? "\"/>" : fmt::format("\"><title>{}</title></path>", escaped(series.name)));
}

std::string points(const Series& series, std::size_t index, const Frame& frame) {
  std::string text;
  for (std::size_t i = 0; i < series.x.size(); ++i) {
    const std::string& label = series.is_line() ? series.name : series.labels[i];
    const std::string numbers = series.labels_tell_all ? "" : fmt::format(": {:.6g}, {:.6g}", series.x[i], series.y[i]);
    fmt::format_to(std::back_inserter(text),
                   "<circle class=\"point {}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\"><title>{}{}</title></circle>",
                   colour_of(series, index), frame.x.at(series.x[i]), frame.y.at(series.y[i]),
                   series.is_line() ? "2.5" : "4", escaped(label), numbers);
  }
  return text;
}

std::string bars(const Series& series, std::size_t index, const Frame& frame, bool sideways) {
  const Scale& along = sideways ? frame.x : frame.y;
  const Scale& beside = sideways ? frame.y : frame.x;
  std::string text;
  for (std::size_t i = 0; i < series.x.size(); ++i) {
    const double begin = along.at(series.base.empty() ? 0.0 : series.base[i]);
    const double end = along.at(sideways ? series.x[i] : series.y[i]);
    const double place = sideways ? series.y[i] : series.x[i];
    const double from = beside.at(place - kHalfBar);
    const double to = beside.at(place + kHalfBar);
    const auto [near, far] = std::minmax(begin, end);
    const auto [first, last] = std::minmax(from, to);
    fmt::format_to(std::back_inserter(text),
                   "<rect class=\"bar {}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\">"
                   "<title>{}</title></rect>",
                   colour_of(series, index), sideways ? near : first, sideways ? first : near,
                   sideways ? far - near : last - first, sideways ? last - first : far - near,
                   escaped(series.labels[i]));
  }
  return text;
}

std::string drawn(const Series& series, std::size_t index, const Frame& frame, bool sideways) {
  if (series.mark == Mark::kBars) {
    return bars(series, index, frame, sideways);
  }
  std::string text = series.is_line() && series.x.size() > 1 ? line(series, index, frame) : std::string();
  const bool dotted = series.mark == Mark::kLine && series.listed && series.x.size() <= kFewPoints;
  if (series.mark == Mark::kPoints || dotted || series.x.size() == 1) {
    text += points(series, index, frame);
  }
  return text;
}

}  // namespace

std::string svg(const Plot& plot) {
  const Frame frame = frame_of(plot);
  std::string text =
      fmt::format("<svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-labelledby=\"{}-title {}-summary\">",
                  frame.width, frame.height, plot.id, plot.id);
  text += axes(plot, frame);
  for (std::size_t i = 0; i < plot.series.size(); ++i) {
    text += drawn(plot.series[i], i, frame, plot.sideways);
  }
  return text + "</svg>";
}

}  // namespace dormer::report
