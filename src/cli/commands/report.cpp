#include "dormer/report/report.hpp"

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/command.hpp"
#include "dormer/core/atomic_file.hpp"

namespace dormer::cli::commands {
namespace {

constexpr const char* kPageName = "report.html";

struct Options {
  std::vector<std::string> runs;
  std::string output;
  bool still = false;
};

int write_page(const Options& options) {
  std::vector<report::Run> runs;
  for (const std::string& folder : options.runs) {
    runs.push_back(report::read_run(folder));
  }
  const std::string bundle = options.still ? std::string() : report::plotly_bundle();
  const std::string page = runs.size() == 1 ? report::run_page(runs[0], bundle) : report::comparison_page(runs, bundle);
  std::filesystem::path output = options.output;
  if (output.empty()) {
    output = runs.size() == 1 ? runs[0].folder / kPageName : std::filesystem::path(kPageName);
  }
  write_file_atomically(output, std::string_view(page));
  fmt::print("{}\n", output.string());
  return 0;
}

Action declare(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  app.add_option("RUN", options->runs, "Run directories, finished or running; several are compared on one page.")
      ->required();
  app.add_option("--output", options->output,
                 "The page; without it RUN/report.html for one run, report.html in this folder for several.")
      ->type_name("FILE");
  app.add_flag("--still", options->still, "Leave Plotly's bundle out: a small page with still pictures.");
  return [options] { return write_page(*options); };
}

}  // namespace

Command report() {
  return {"report", "Shows a run, or compares several, as one HTML page that needs nothing else.",
          "dormer report runs/quickstart\n  dormer report runs/lora runs/dora --output comparison.html", declare};
}

}  // namespace dormer::cli::commands
