#include <algorithm>
#include <iterator>

#include <fmt/format.h>

#include "report/escape.hpp"
#include "report/page.hpp"
#include "report/scale.hpp"

namespace dormer::report {
namespace {

constexpr double kIntervalWidth = 120.0;
constexpr double kMostReach = 1.5;  // of whiskers, in distances between the outermost middles
constexpr std::size_t kIntervalColumn = 2;
constexpr double kLiveHeight = 22.0 / 320.0;  // rem, of one unit of a still picture
constexpr double kParallelHeight = 32.0;

std::string legend_mark(const Series& series, std::size_t index) {
  const std::string colour = colour_of(series, index);
  switch (series.mark) {
    case Mark::kPoints:
      return fmt::format("<circle class=\"point {}\" cx=\"14\" cy=\"5\" r=\"4\"/>", colour);
    case Mark::kBars:
      return fmt::format("<rect class=\"bar {}\" x=\"8\" width=\"12\" height=\"10\"/>", colour);
    default:
      return fmt::format("<path class=\"line {} d{}\" d=\"M0 5H28\"/>", colour,
                         series.colour.empty() ? index / 8 % 4 : 0);
  }
}

std::string legend(const Plot& plot) {
  if (plot.series.size() < 2 || std::ranges::none_of(plot.series, &Series::listed)) {
    return {};
  }
  std::string text = "<ul class=\"legend\">";
  for (std::size_t i = 0; i < plot.series.size(); ++i) {
    if (plot.series[i].listed) {
      text += fmt::format("<li><svg viewBox=\"0 0 28 10\" aria-hidden=\"true\">{}</svg>{}</li>",
                          legend_mark(plot.series[i], i), escaped(plot.series[i].name));
    }
  }
  return text + "</ul>\n";
}

/// A figure with what stands over both pictures, the still one with its legend, the place of the live one, and the
/// words for both.
template <typename Picture>
std::string figure(const Picture& plot, const std::string& key, const std::string& legend, int heading,
                   double live_height) {
  std::string text =
      fmt::format("<figure id=\"{0}\">\n<h{2} id=\"{0}-title\">{1}</h{2}>\n", plot.id, escaped(plot.title), heading);
  if (!plot.empty()) {
    text += key + fmt::format("<div class=\"still\">\n{}{}\n</div>\n", legend, svg(plot));
    text += fmt::format(
        "<div class=\"live\" style=\"height: {1:.1f}rem\" role=\"img\" aria-labelledby=\"{0}-title {0}-summary\" "
        "hidden></div>\n",
        plot.id, live_height);
  }
  return text +
         fmt::format("<figcaption id=\"{}-summary\">{}</figcaption>\n</figure>\n", plot.id, escaped(plot.summary));
}

/// What the colours of parallel coordinates mean; it stays with the live picture.
std::string colour_key(const Parallel& plot) {
  std::string swatches;
  for (int i = 0; i < 8; ++i) {
    swatches += fmt::format("<rect class=\"bar v{}\" x=\"{}\" width=\"16\" height=\"10\"/>", i, 16 * i);
  }
  return fmt::format("<p class=\"key\">{}<svg viewBox=\"0 0 128 10\" aria-hidden=\"true\">{}</svg>{}</p>\n",
                     escaped(plot.best), swatches, escaped(plot.worst));
}

/// The third column of a table: all intervals on one line, those that leave it cut.
class IntervalColumn {
 public:
  explicit IntervalColumn(const std::vector<std::optional<Interval>>& intervals) : intervals_(intervals) {
    const bool any = std::ranges::any_of(intervals, [](const auto& one) { return one && !one->quiet; });
    const auto compared = [any](const auto& one) { return one && !(any && one->quiet); };
    Range middles;
    for (const std::optional<Interval>& one : intervals) {
      if (compared(one)) {
        middles.include(one->middle);
      }
    }
    const double reach = kMostReach * (middles.high - middles.low);
    Range range = middles;
    for (const std::optional<Interval>& one : intervals) {
      if (compared(one)) {
        range.include(one->middle - std::min(one->half_width, reach));
        range.include(one->middle + std::min(one->half_width, reach));
      }
    }
    scale_ = {.range = range.padded(), .begin = 5.0, .end = kIntervalWidth - 5.0};
  }
  [[nodiscard]] bool empty() const { return intervals_.empty(); }
  [[nodiscard]] std::string cell(std::size_t row) const {
    if (!intervals_[row]) {
      return "<td></td>";
    }
    const Interval& one = *intervals_[row];
    const auto inside = [](double at) { return std::clamp(at, 0.0, kIntervalWidth); };
    const double from = inside(scale_.at(one.middle - one.half_width));
    const double to = inside(scale_.at(one.middle + one.half_width));
    const char* colour = one.quiet ? "quiet" : "c0";
    std::string drawn;
    if (one.half_width > 0.0) {
      drawn = fmt::format("<path class=\"line {}\" d=\"M{:.1f} 7H{:.1f}\"/>", colour, from, to);
    }
    const double middle = scale_.at(one.middle);
    if (inside(middle) == middle) {
      drawn += fmt::format("<circle class=\"point {}\" cx=\"{:.1f}\" cy=\"7\" r=\"4\"/>", colour, middle);
    }
    return fmt::format(
        "<td><svg class=\"interval\" viewBox=\"0 0 {0:.0f} 14\" aria-hidden=\"true\"><path class=\"grid\" d=\"M0 "
        "7H{0:.0f}\"/>{1}</svg></td>",
        kIntervalWidth, drawn);
  }

 private:
  const std::vector<std::optional<Interval>>& intervals_;
  Scale scale_;
};

std::string row(const std::vector<std::string>& cells, const IntervalColumn& intervals, std::size_t number,
                bool close) {
  std::string text = "<tr>";
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (i == kIntervalColumn && !intervals.empty()) {
      text += intervals.cell(number);
    }
    const char* wraps = close && i + 1 == cells.size() && intervals.empty() ? " class=\"text\"" : "";
    text += i == 0 ? fmt::format("<th scope=\"row\">{}</th>", escaped(cells[i]))
                   : fmt::format("<td{}>{}</td>", wraps, escaped(cells[i]));
  }
  return text + "</tr>\n";
}

std::string table_body(const Table& content) {
  const IntervalColumn intervals(content.intervals);
  std::string text = fmt::format("<div class=\"wide\"><table{}>\n", content.close ? " class=\"close\"" : std::string());
  if (!content.head.empty()) {
    text += "<thead><tr>";
    for (std::size_t i = 0; i < content.head.size(); ++i) {
      text += i == kIntervalColumn && !intervals.empty() ? "<td></td>" : "";
      text += fmt::format("<th scope=\"col\">{}</th>", escaped(content.head[i]));
    }
    text += "</tr></thead>\n";
  }
  text += "<tbody>\n";
  for (std::size_t i = 0; i < content.rows.size(); ++i) {
    text += row(content.rows[i], intervals, i, content.close);
  }
  return text + "</tbody></table></div>\n";
}

std::string paragraph(const std::string& text) {
  return text.empty() ? "" : fmt::format("<p class=\"soft\">{}</p>\n", escaped(text));
}

std::string fold(const Fold& content) {
  std::string text = fmt::format("<details class=\"item\"><summary>{}</summary>\n", escaped(content.title));
  Table table{.title = {}, .head = {}, .rows = {}};
  for (const auto& [name, value] : content.rows) {
    table.rows.push_back({name, value});
  }
  text += table_body(table);
  text += content.command.empty() ? "" : fmt::format("<pre>{}</pre>\n", escaped(content.command));
  return text + "</details>\n";
}

struct PartText {
  std::string operator()(const Plot& plot) const {
    return figure(plot, "", legend(plot), plot.small ? 3 : 2, kLiveHeight * plot.height);
  }
  std::string operator()(const Parallel& plot) const { return figure(plot, colour_key(plot), "", 2, kParallelHeight); }
  std::string operator()(const Table& content) const {
    const std::string inside = paragraph(content.summary) + table_body(content);
    return content.folded
               ? fmt::format("<details><summary>{}</summary>\n{}</details>\n", escaped(content.title), inside)
               : fmt::format("<section>\n<h2>{}</h2>\n{}</section>\n", escaped(content.title), inside);
  }
  std::string operator()(const PlotGrid& grid) const {
    std::string text = head(grid.id, grid.title, grid.summary) + "<div class=\"plots\">\n";
    for (const Plot& plot : grid.plots) {
      text += (*this)(plot);
    }
    return text + "</div>\n</section>\n";
  }
  std::string operator()(const Tiles& tiles) const {
    std::string text = "<dl class=\"tiles\">\n";
    for (const Tile& tile : tiles) {
      text += fmt::format("<div><dt>{}</dt><dd>{}</dd><dd class=\"soft\">{}</dd></div>\n", escaped(tile.name),
                          escaped(tile.value), escaped(tile.remark));
    }
    return text + "</dl>\n";
  }
  std::string operator()(const Folds& folds) const {
    std::string text = fmt::format("<details id=\"{}\"><summary>{}</summary>\n{}", folds.id, escaped(folds.title),
                                   paragraph(folds.summary));
    for (const Fold& one : folds.folds) {
      text += fold(one);
    }
    return text + "</details>\n";
  }
  std::string operator()(const Gallery& gallery) const {
    std::string text = head(gallery.id, gallery.title, gallery.summary) + "<div class=\"gallery\">\n";
    for (const auto& [caption, uri] : gallery.pictures) {
      text += fmt::format("<figure><img alt=\"{0}\" src=\"{1}\"><figcaption>{0}</figcaption></figure>\n",
                          escaped(caption), escaped(uri));
    }
    return text + "</div>\n</section>\n";
  }

 private:
  static std::string head(const std::string& id, const std::string& title, const std::string& summary) {
    return fmt::format("<section id=\"{}\">\n<h2>{}</h2>\n{}", id, escaped(title), paragraph(summary));
  }
};

}  // namespace

std::string html(const Part& part) {
  return std::visit(PartText(), part);
}

}  // namespace dormer::report
