#include "report/page.hpp"

#include <fmt/format.h>

#include "report/escape.hpp"

namespace dormer::report {
namespace {

// Nothing may be fetched, whatever a script tries: the browser itself refuses.
constexpr std::string_view kPolicy =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'";

/// The plots of the page as its script reads them, commas and newlines between.
class ScriptData {
 public:
  void operator()(const Plot& plot) {
    if (!plot.empty()) {
      add(script_data(plot));
    }
  }
  void operator()(const PlotGrid& grid) {
    for (const Plot& plot : grid.plots) {
      (*this)(plot);
    }
  }
  void operator()(const Parallel& plot) {
    if (!plot.empty()) {
      add(script_data(plot));
    }
  }
  template <typename Other>
  void operator()(const Other& /*part*/) {}
  [[nodiscard]] std::string list() const { return "[" + text_ + "]"; }

 private:
  void add(const std::string& entry) { text_ += (text_.empty() ? "" : ",\n") + entry; }
  std::string text_;
};

std::string scripts(const Page& page, std::string_view bundle) {
  ScriptData data;
  for (const Part& part : page.parts) {
    std::visit(data, part);
  }
  std::string text = "<script>";
  text += bundle;
  text += "</script>\n<script type=\"application/json\" id=\"plots\">" + data.list() + "</script>\n<script>";
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
  for (const Part& part : page.parts) {
    text += html(part);
  }
  text += "</main>\n";
  if (!bundle.empty()) {
    text += scripts(page, bundle);
  }
  return text + "</body>\n</html>\n";
}

}  // namespace dormer::report
