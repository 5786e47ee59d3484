#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace dormer::cli {

/// What one thing on disk is, for a person: a first line, names with values, and lists of lines.
struct Inspection {
  std::string title;
  std::vector<std::pair<std::string, std::string>> facts;
  std::vector<std::string> lines;
};

/// A Hugging Face folder of a language model: family, sizes, weights, linear layers. Weights are mapped, not read.
[[nodiscard]] Inspection inspect_model(const std::filesystem::path& folder);
[[nodiscard]] Inspection inspect_token_set(const std::filesystem::path& file);
[[nodiscard]] Inspection inspect_checkpoint(const std::filesystem::path& folder);
/// A run directory: how the run stands, its checkpoints and exports.
[[nodiscard]] Inspection inspect_run(const std::filesystem::path& folder);

}  // namespace dormer::cli
