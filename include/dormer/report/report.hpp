#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "dormer/report/run_record.hpp"

namespace dormer::report {

/// Plotly's bundle, which makes the plots of a page interactive, where launch/setup.sh put it; empty where it is not.
[[nodiscard]] std::string plotly_bundle();

/// One run as an HTML page: curves, layers, configuration, versions. Everything is in the page, nothing is fetched. The
/// plots are drawn as still pictures, and again by `bundle` where that is not empty and scripts run. Pure.
[[nodiscard]] std::string run_page(const Run& run, std::string_view bundle);

/// Several runs on one page: their curves over one another, their losses, and where their configurations differ. Pure.
[[nodiscard]] std::string comparison_page(std::span<const Run> runs, std::string_view bundle);

}  // namespace dormer::report
