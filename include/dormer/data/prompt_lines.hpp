#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dormer::data {

/// What one image of a preview is made of; nothing: as the run's settings say.
struct PromptLine {
  std::string prompt;
  std::string negative;                ///< empty: none
  std::optional<std::int64_t> width;   ///< pixels, a multiple of 8
  std::optional<std::int64_t> height;  ///< pixels, a multiple of 8
  std::optional<std::int64_t> seed;
  std::optional<double> guidance;     ///< scale of classifier-free guidance
  std::optional<std::int64_t> steps;  ///< of the sampler
  std::int64_t line = 0;              ///< in its file, from 1 on
};

/// Prompts in the form of kohya's trainer, one a line: the text, then " --n NEGATIVE", " --w WIDTH", " --h HEIGHT",
/// " --d SEED", " --l GUIDANCE" and " --s STEPS" in any order, letters of either case. Empty lines and lines that begin
/// with "#" are none. Throws an input error "WHERE:LINE: …" for anything else, also for options that kohya knows and
/// nothing here would follow, and for more than 10,000 prompts. Pure.
[[nodiscard]] std::vector<PromptLine> parse_prompt_lines(std::string_view text, const std::string& where);

[[nodiscard]] std::vector<PromptLine> read_prompt_lines(const std::filesystem::path& file);

}  // namespace dormer::data
