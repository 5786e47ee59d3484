#include "peft_config.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <regex>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/json_extent.hpp"

namespace dormer::interop {
namespace {

using Json = nlohmann::ordered_json;

// Settings that change what the adapter computes, or where; all are absent, null, false or empty in plain LoRA and
// DoRA.
constexpr std::array<std::string_view, 14> kForeignSettings{
    "fan_in_fan_out",          "lora_bias",       "use_qalora",     "layer_replication",  "arrow_config",
    "target_parameters",       "kasa_config",     "use_bdlora",     "velora_config",      "monteclora_config",
    "alora_invocation_tokens", "megatron_config", "lora_ga_config", "ensure_weight_tying"};

// Ways to start that change the base's weights: the adapter alone then is not the trained function.
constexpr std::array<std::string_view, 5> kStartsThatChangeTheBase{"pissa", "olora", "loftq", "corda", "lora_ga"};

bool is_set(const Json& root, std::string_view key) {
  const auto place = root.find(key);
  return place != root.end() && !place->is_null() && !(place->is_boolean() && !place->get<bool>()) &&
         !(place->is_structured() && place->empty());
}

template <typename T>
T value_or(const Json& root, const char* key, T otherwise) {
  return root.contains(key) && !root.at(key).is_null() ? root.at(key).get<T>() : otherwise;
}

void refuse_foreign_settings(const Json& root, const std::string& where) {
  for (const std::string_view key : kForeignSettings) {
    require(!is_set(root, key), Fault::kInput,
            "{} sets '{}', which we do not compute; train without it or merge it in PEFT", where, key);
  }
  if (root.contains("init_lora_weights") && root.at("init_lora_weights").is_string()) {
    const auto start = root.at("init_lora_weights").get<std::string>();
    for (const std::string_view changing : kStartsThatChangeTheBase) {
      require(!start.starts_with(changing), Fault::kInput,
              "{} was started with '{}', which changed the base's weights; save it in PEFT with "
              "path_initial_model_for_weight_conversion",
              where, start);
    }
  }
}

// Whether a pattern is a name: only its dots would mean more to a regular expression.
bool is_name(const std::string& pattern) {
  return std::ranges::all_of(pattern, [](char letter) {
    return std::isalnum(static_cast<unsigned char>(letter)) != 0 || letter == '_' || letter == '.';
  });
}

// As the regular expression would: a dot is any letter, and before the pattern stands a dot or nothing.
bool name_matches(const std::string& pattern, const std::string& layer) {
  if (layer.size() < pattern.size()) {
    return false;
  }
  const std::size_t begin = layer.size() - pattern.size();
  return (begin == 0 || layer[begin - 1] == '.') &&
         std::equal(pattern.begin(), pattern.end(), layer.begin() + static_cast<std::ptrdiff_t>(begin),
                    [](char wanted, char letter) { return wanted == '.' || wanted == letter; });
}

// By the engine that needs no more than states times letters. The default one tries ways until it finds one, for some
// patterns for ever; and it has no bound on the stack that long patterns take, nor on what {n} multiplies.
std::regex expression_of(const std::string& pattern) {
  constexpr std::size_t kLongest = 256;
  try {
    if (pattern.size() <= kLongest && pattern.find('{') == std::string::npos) {
      return std::regex(pattern.starts_with('^') ? pattern : "(.*\\.)?(" + pattern + ")",
                        std::regex::ECMAScript | std::regex::nosubs | std::regex_constants::__polynomial);
    }
  } catch (const std::regex_error&) {  // said below
  }
  fail(Fault::kInput,
       "adapter_config.json: the pattern '{:.80}' is not a regular expression that we know (up to {} letters, without "
       "{{}} "
       "and back references); name the layers",
       pattern, kLongest);
}

// PEFT takes a pattern as a regular expression for the end of a module path, at a dot or at the beginning.
// A leading anchor stands for the whole path.
PeftPattern pattern_of(const std::string& pattern) {
  const bool anchored = pattern.starts_with('^');
  std::string name = pattern.substr(anchored ? 1 : 0);
  if (is_name(name)) {  // a whole model's patterns are many, and regular expressions slow
    return [name = std::move(name), anchored](const std::string& layer) {
      return name_matches(name, layer) && (!anchored || name.size() == layer.size());
    };
  }
  return
      [expression = expression_of(pattern)](const std::string& layer) { return std::regex_match(layer, expression); };
}

template <typename T>
T by_pattern(const std::vector<std::pair<PeftPattern, T>>& patterns, const std::string& layer, T otherwise) {
  for (const auto& [matches, value] : patterns) {
    if (matches(layer)) {
      return value;
    }
  }
  return otherwise;
}

template <typename T>
std::vector<std::pair<PeftPattern, T>> read_patterns(const Json& root, const char* key) {
  std::vector<std::pair<PeftPattern, T>> patterns;
  if (root.contains(key) && !root.at(key).is_null()) {
    for (const auto& [pattern, value] : root.at(key).items()) {
      patterns.emplace_back(pattern_of(pattern), value.template get<T>());
    }
  }
  return patterns;
}

}  // namespace

std::int64_t PeftConfig::rank_of(const std::string& layer) const {
  return by_pattern(rank_pattern, layer, rank);
}

double PeftConfig::alpha_of(const std::string& layer) const {
  return by_pattern(alpha_pattern, layer, alpha);
}

double PeftConfig::scale_of(const std::string& layer) const {
  const auto width = static_cast<double>(rank_of(layer));
  return alpha_of(layer) / (rank_stabilized ? std::sqrt(width) : width);
}

bool PeftConfig::saves(const std::string& module) const {
  return std::ranges::any_of(modules_to_save, [&](const std::string& end) { return module.ends_with(end); });
}

std::vector<std::int64_t> PeftConfig::tokens_of(const std::string& module) const {
  for (const auto& [end, indices] : token_indices) {
    if (module.ends_with(end)) {
      return indices;
    }
  }
  return {};
}

PeftConfig peft_config_from(const nlohmann::ordered_json& root, const std::string& where) {
  PeftConfig config;
  try {
    config.method = value_or<std::string>(root, "peft_type", config.method);
    require(config.method == "LORA" || config.method == "LOHA" || config.method == "LOKR", Fault::kInput,
            "{} holds a PEFT adapter of the type '{}'; LORA, LOHA and LOKR are read", where, config.method);
    refuse_foreign_settings(root, where);
    config.rank = value_or<std::int64_t>(root, "r", config.rank);
    config.alpha = value_or<double>(root, config.method == "LORA" ? "lora_alpha" : "alpha", config.alpha);
    config.rank_stabilized = value_or<bool>(root, "use_rslora", false);
    config.bias = value_or<std::string>(root, "bias", "none");
    require(config.bias == "none" || config.bias == "all" || config.bias == "lora_only", Fault::kInput,
            "{} has bias: {}, which PEFT does not know; none, all and lora_only are read", where, config.bias);
    config.decompose = value_or<bool>(root, "use_dora", false);
    config.rank_pattern = read_patterns<std::int64_t>(root, "rank_pattern");
    config.alpha_pattern = read_patterns<double>(root, "alpha_pattern");
    config.task = value_or<std::string>(root, "task_type", "");
    config.base = value_or<std::string>(root, "base_model_name_or_path", "");
    if (is_set(root, "modules_to_save")) {
      config.modules_to_save = root.at("modules_to_save").get<std::vector<std::string>>();
    }
    if (is_set(root, "trainable_token_indices")) {
      const Json& tokens = root.at("trainable_token_indices");
      if (tokens.is_array()) {
        config.token_indices.emplace_back("embed_tokens", tokens.get<std::vector<std::int64_t>>());
      } else {
        for (const auto& [name, indices] : tokens.items()) {
          config.token_indices.emplace_back(name, indices.get<std::vector<std::int64_t>>());
        }
      }
    }
  } catch (const Json::exception&) {
    fail(Fault::kInput, "bad PEFT configuration {}: a field is of the wrong type; save it again", where);
  }
  require(config.rank > 0 && std::isfinite(config.alpha), Fault::kInput, "bad PEFT configuration {}: r is {}, alpha {}",
          where, config.rank, config.alpha);
  return config;
}

Json parse_peft_json(const std::string& text, const std::string& where) {
  constexpr std::size_t kMostMembers = 20'000;  // a container that keeps their order looks through all for each
  require_shallow_json(text, where);
  require(extent_of_json(text).members <= kMostMembers, Fault::kInput, "{} has more than {} members; save it again",
          where, kMostMembers);
  return Json::parse(text, nullptr, false);
}

PeftConfig read_peft_config(const std::filesystem::path& path) {
  const Json root = parse_peft_json(read_file(path, "PEFT configuration"), path.string());
  require(root.is_object() && root.contains("peft_type"), Fault::kInput,
          "bad PEFT configuration {}: it is not JSON, or names no peft_type; save it again", path.string());
  return peft_config_from(root, path.string());
}

}  // namespace dormer::interop
