#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace dormer::interop {

/// Whether a pattern of rank_pattern or alpha_pattern means a layer.
using PeftPattern = std::function<bool(const std::string& layer)>;

/// What adapter_config.json says about the arithmetic.
struct PeftConfig {
  std::string method = "LORA";  ///< peft_type: LORA, LOHA or LOKR
  std::string task;             ///< task_type, or empty
  std::string base;             ///< base_model_name_or_path, or empty
  std::int64_t rank = 8;
  double alpha = 8.0;
  bool rank_stabilized = false;
  bool decompose = false;
  std::string bias = "none";                                       ///< which biases are trained: none, all or lora_only
  std::vector<std::pair<PeftPattern, std::int64_t>> rank_pattern;  ///< in the file's order; the first match counts
  std::vector<std::pair<PeftPattern, double>> alpha_pattern;
  std::vector<std::string> modules_to_save;                                      ///< ends of module paths
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> token_indices;  ///< by ends of module paths

  [[nodiscard]] std::int64_t rank_of(const std::string& layer) const;
  [[nodiscard]] double alpha_of(const std::string& layer) const;
  [[nodiscard]] double scale_of(const std::string& layer) const;
  [[nodiscard]] bool saves(const std::string& module) const;
  /// The tokens whose rows of this table are trained; empty: none.
  [[nodiscard]] std::vector<std::int64_t> tokens_of(const std::string& module) const;
};

/// The JSON of such a configuration; an input fault that names `where` for texts that are too deep or hold too much.
/// Discarded, as the library says it, for what is no JSON.
[[nodiscard]] nlohmann::ordered_json parse_peft_json(const std::string& text, const std::string& where);

/// The same fields wherever they stand; `where` names the place in errors.
[[nodiscard]] PeftConfig peft_config_from(const nlohmann::ordered_json& root, const std::string& where);

/// Reads adapter_config.json and refuses by name what changes the function in ways that we do not compute.
[[nodiscard]] PeftConfig read_peft_config(const std::filesystem::path& path);

}  // namespace dormer::interop
