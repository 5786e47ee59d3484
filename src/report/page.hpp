#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "report/plot.hpp"

namespace dormer::report {

struct Table {
  std::string title;
  std::vector<std::string> head;  ///< of the columns; empty: two columns, names and what they are
  std::vector<std::vector<std::string>> rows;
  bool folded = false;  ///< shown when it is asked for
};

struct Page {
  std::string title;
  std::string summary;  ///< under the title
  std::vector<Plot> plots;
  std::vector<Table> tables;
};

/// The page as one HTML document. Every text of it is escaped here.
[[nodiscard]] std::string html(const Page& page, std::string_view bundle);

/// The page's style and the script that draws its plots with Plotly.
[[nodiscard]] std::string_view page_style();
[[nodiscard]] std::string_view page_script();

}  // namespace dormer::report
