#include "report/page.hpp"

#include <fmt/format.h>

namespace dormer::report {
namespace {

// Nothing may be fetched, whatever a script tries: the browser itself refuses.
constexpr std::string_view kPolicy =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'";

std::string legend(const Plot& plot) {
  if (plot.series.size() < 2) {
    return {};
  }
  std::string text = "<ul class=\"legend\">";
  for (std::size_t i = 0; i < plot.series.size(); ++i) {
    const std::string mark = plot.series[i].is_line()
                                 ? fmt::format("<path class=\"line c{} d{}\" d=\"M0 5H28\"/>", i % 8, i / 8 % 4)
                                 : fmt::format("<circle class=\"point c{}\" cx=\"14\" cy=\"5\" r=\"4\"/>", i % 8);
    text += fmt::format("<li><svg viewBox=\"0 0 28 10\" aria-hidden=\"true\">{}</svg>{}</li>", mark,
                        escaped(plot.series[i].name));
  }
  return text + "</ul>\n";
}

std::string figure(const Plot& plot) {
  std::string text = fmt::format("<figure id=\"{0}\">\n<h2 id=\"{0}-title\">{1}</h2>\n", plot.id, escaped(plot.title));
  if (!plot.empty()) {
    text += fmt::format("<div class=\"still\">\n{}{}\n</div>\n", legend(plot), svg(plot));
    text += fmt::format("<div class=\"live\" role=\"img\" aria-labelledby=\"{0}-title {0}-summary\" hidden></div>\n",
                        plot.id);
  }
  return text +
         fmt::format("<figcaption id=\"{}-summary\">{}</figcaption>\n</figure>\n", plot.id, escaped(plot.summary));
}

std::string row(const std::vector<std::string>& cells) {
  std::string text = "<tr>";
  for (std::size_t i = 0; i < cells.size(); ++i) {
    text += i == 0 ? fmt::format("<th scope=\"row\">{}</th>", escaped(cells[i]))
                   : fmt::format("<td>{}</td>", escaped(cells[i]));
  }
  return text + "</tr>\n";
}

std::string table(const Table& content) {
  std::string text = fmt::format("<section>\n<h2>{}</h2>\n", escaped(content.title));
  if (content.folded) {
    text = fmt::format("<details><summary>{}</summary>\n", escaped(content.title));
  }
  text += "<div class=\"wide\"><table>\n";
  if (!content.head.empty()) {
    text += "<thead><tr>";
    for (const std::string& cell : content.head) {
      text += fmt::format("<th scope=\"col\">{}</th>", escaped(cell));
    }
    text += "</tr></thead>\n";
  }
  text += "<tbody>\n";
  for (const std::vector<std::string>& cells : content.rows) {
    text += row(cells);
  }
  return text + "</tbody></table></div>\n" + (content.folded ? "</details>\n" : "</section>\n");
}

std::string scripts(const Page& page, std::string_view bundle) {
  std::vector<Plot> drawn;
  for (const Plot& plot : page.plots) {
    if (!plot.empty()) {
      drawn.push_back(plot);
    }
  }
  std::string text = "<script>";
  text += bundle;
  text += "</script>\n<script type=\"application/json\" id=\"plots\">" + script_data(drawn) + "</script>\n<script>";
  text += page_script();
  return text + "</script>\n";
}

}  // namespace

std::string html(const Page& page, std::string_view bundle) {
  std::string text = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n<style>{}</style>\n"
      "</head>\n<body>\n<main>\n<h1>{}</h1>\n<p>{}</p>\n",
      kPolicy, escaped(page.title), page_style(), escaped(page.title), escaped(page.summary));
  if (bundle.empty()) {
    text += "<p class=\"soft\">The plots are still pictures: this page was written without Plotly's bundle.</p>\n";
  }
  for (const Plot& plot : page.plots) {
    text += figure(plot);
  }
  for (const Table& content : page.tables) {
    text += table(content);
  }
  text += "</main>\n";
  if (!bundle.empty()) {
    text += scripts(page, bundle);
  }
  return text + "</body>\n</html>\n";
}

}  // namespace dormer::report
