#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "report/parallel.hpp"
#include "report/plot.hpp"

namespace dormer::report {

/// A number and how far it may be off, drawn in a row of a table.
struct Interval {
  double middle = 0.0;
  double half_width = 0.0;
  bool quiet = false;  ///< not of those that are compared
};

struct Table {
  std::string title;
  std::vector<std::string> head;  ///< of the columns; empty: two columns, names and what they are
  std::vector<std::vector<std::string>> rows;
  bool folded = false;    ///< shown when it is asked for
  std::string summary{};  ///< under the title
  bool close = false;     ///< cells stand on one line, as near as they can; those of the last column alone may wrap
  std::vector<std::optional<Interval>> intervals{};  ///< one a row, drawn as the third column; empty: none
};

/// Several small plots side by side under one title.
struct PlotGrid {
  std::string id;
  std::string title;
  std::string summary;
  std::vector<Plot> plots;
};

/// A few numbers that say the most: each a name, the number, and a remark.
struct Tile {
  std::string name;
  std::string value;
  std::string remark;
};
using Tiles = std::vector<Tile>;

/// One thing that unfolds: what it is, its table, and what one may type to repeat it.
struct Fold {
  std::string title;
  std::vector<std::pair<std::string, std::string>> rows;
  std::string command;  ///< empty: none
};
struct Folds {
  std::string id;
  std::string title;
  std::string summary;
  std::vector<Fold> folds;
};

/// Pictures that are not ours: captions, and URIs that carry the files.
struct Gallery {
  std::string id;
  std::string title;
  std::string summary;
  std::vector<std::pair<std::string, std::string>> pictures;
};

using Part = std::variant<Plot, Table, PlotGrid, Parallel, Tiles, Folds, Gallery>;

struct Page {
  std::string title;
  std::string summary;  ///< under the title
  std::vector<Part> parts;
};

/// The page as one HTML document. Every text of it is escaped here.
[[nodiscard]] std::string html(const Page& page, std::string_view bundle);

/// One part of it.
[[nodiscard]] std::string html(const Part& part);

/// The page's style and the script that draws its plots with Plotly.
[[nodiscard]] std::string_view page_style();
[[nodiscard]] std::string_view page_script();

}  // namespace dormer::report
