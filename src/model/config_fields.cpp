#include "config_fields.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/ranges.h>

#include "dormer/core/error.hpp"

namespace dormer::model {
namespace {

using Json = nlohmann::json;

std::vector<std::int64_t> read_end_of_text(ConfigFields& fields) {
  std::vector<std::int64_t> ids;
  if (!fields.has("eos_token_id")) {
    return ids;
  }
  const Json& value = fields.object().at("eos_token_id");
  const Json list = value.is_array() ? value : Json::array({value});
  for (const Json& id : list) {
    if (!id.is_number_integer() || id.get<std::int64_t>() < 0) {
      fields.refuse(true, fmt::format("eos_token_id must be token ids, not {}", value.dump()));
      break;
    }
    ids.push_back(id.get<std::int64_t>());
  }
  return ids;
}

void check_heads(ConfigFields& fields, const DecoderDescription& decoder, bool explicit_width) {
  fields.refuse(!explicit_width && decoder.hidden % decoder.heads != 0,
                fmt::format("hidden_size {} is not a multiple of num_attention_heads {} and head_dim is missing",
                            decoder.hidden, decoder.heads));
  fields.refuse(decoder.heads % decoder.key_value_heads != 0,
                fmt::format("num_attention_heads {} is not a multiple of num_key_value_heads {}", decoder.heads,
                            decoder.key_value_heads));
  fields.refuse(decoder.head_width % 2 != 0,
                fmt::format("head_dim {} is odd: rotary embedding needs halves", decoder.head_width));
}

}  // namespace

std::int64_t ConfigFields::size(const char* name, std::optional<std::int64_t> fallback) {
  if (!has(name)) {
    refuse(!fallback, fmt::format("{} is missing", name));
    return fallback.value_or(1);
  }
  const Json& value = object_.at(name);
  constexpr std::int64_t kLargest = std::int64_t{1}
                                    << 24;  // of all that a model counts; products of two are no trouble
  if (!value.is_number_integer() || value.get<std::int64_t>() < 1 || value.get<std::int64_t>() > kLargest) {
    refuse(true, fmt::format("{} must be a positive integer up to {}, not {}", name, kLargest, value.dump()));
    return 1;
  }
  return value.get<std::int64_t>();
}

std::int64_t ConfigFields::size_or_null(const char* name, std::int64_t fallback) {
  return object_.contains(name) && object_.at(name).is_null() ? 0 : size(name, fallback);
}

double ConfigFields::number(const char* name, double fallback) {
  if (!has(name)) {
    return fallback;
  }
  const Json& value = object_.at(name);
  if (!value.is_number() || !(value.get<double>() > 0.0) || !std::isfinite(value.get<double>())) {
    refuse(true, fmt::format("{} must be a positive number, not {}", name, value.dump()));
    return fallback;
  }
  return value.get<double>();
}

double ConfigFields::number_or_null(const char* name, double fallback) {
  return object_.contains(name) && object_.at(name).is_null() ? 0.0 : number(name, fallback);
}

bool ConfigFields::flag(const char* name, bool fallback) {
  if (!has(name)) {
    return fallback;
  }
  const Json& value = object_.at(name);
  if (!value.is_boolean()) {
    refuse(true, fmt::format("{} must be true or false, not {}", name, value.dump()));
    return fallback;
  }
  return value.get<bool>();
}

void ConfigFields::refuse(bool condition, std::string text) {
  if (condition) {
    problems_.push_back(std::move(text));
  }
}

void ConfigFields::refuse_fields(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    refuse(has(name), fmt::format("{} is not supported in this family", name));
  }
}

DecoderDescription read_sizes(ConfigFields& fields, std::string family, bool tied_head) {
  DecoderDescription decoder;
  decoder.family = std::move(family);
  decoder.vocabulary = fields.size("vocab_size");
  decoder.hidden = fields.size("hidden_size");
  decoder.intermediate = fields.size("intermediate_size");
  constexpr std::int64_t kMostBlocks = 10'000;  // what follows takes memory for every one of them
  decoder.blocks = fields.size("num_hidden_layers");
  fields.refuse(decoder.blocks > kMostBlocks,
                fmt::format("num_hidden_layers {} is above {}", decoder.blocks, kMostBlocks));
  decoder.blocks = std::min(decoder.blocks, kMostBlocks);
  decoder.heads = fields.size("num_attention_heads");
  decoder.key_value_heads = fields.size("num_key_value_heads", decoder.heads);
  const bool explicit_width = fields.has("head_dim");
  decoder.head_width = explicit_width ? fields.size("head_dim") : decoder.hidden / decoder.heads;
  decoder.maximum_positions = fields.size("max_position_embeddings", 2'048);
  decoder.epsilon = fields.number("rms_norm_eps", 1e-6);
  decoder.tied_head = fields.flag("tie_word_embeddings", tied_head);
  decoder.attention_scale = 1.0 / std::sqrt(static_cast<double>(decoder.head_width));
  decoder.windows.assign(static_cast<std::size_t>(decoder.blocks), 0);
  decoder.rotary_of_block.assign(static_cast<std::size_t>(decoder.blocks), 0);
  decoder.end_of_text = read_end_of_text(fields);
  fields.refuse(fields.has("quantization_config"),
                "quantization_config: quantized bases are not supported; use the unquantized folder");
  fields.refuse_fields({"num_local_experts", "num_experts", "n_routed_experts", "logit_scale", "embedding_multiplier",
                        "residual_multiplier", "attention_multiplier"});
  fields.refuse(fields.number("partial_rotary_factor", 1.0) != 1.0, "partial_rotary_factor is not supported");
  check_heads(fields, decoder, explicit_width);
  return decoder;
}

RotaryConfig read_rotary(ConfigFields& fields, std::int64_t maximum_positions) {
  const double theta = fields.number("rope_theta", 10'000.0);
  const std::string key = fields.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  return fields.has(key.c_str()) ? read_rotary_object(fields, fields.object().at(key), key, theta, maximum_positions)
                                 : RotaryConfig{.theta = theta};
}

RotaryConfig read_rotary_object(ConfigFields& fields, const Json& object, const std::string& key, double theta,
                                std::int64_t maximum_positions) {
  RotaryConfig rotary{.theta = theta};
  if (!object.is_object()) {
    fields.refuse(true, fmt::format("{} must be an object", key));
    return rotary;
  }
  ConfigFields scaling(object);
  const char* type_key = scaling.has("rope_type") ? "rope_type" : "type";
  if (scaling.has(type_key) && object.at(type_key).is_string()) {
    rotary.type = object.at(type_key).get<std::string>();
  }
  rotary.theta = scaling.number("rope_theta", rotary.theta);
  const bool known = rotary.type == "default" || rotary.type == "linear" || rotary.type == "llama3";
  fields.refuse(!known, fmt::format("rope type '{}' is not supported (default, linear and llama3 are)", rotary.type));
  if (rotary.type == "linear" || rotary.type == "llama3") {
    fields.refuse(!scaling.has("factor"), fmt::format("{}.factor is missing", key));
    rotary.factor = scaling.number("factor", 1.0);
  }
  if (rotary.type == "llama3") {
    rotary.low_frequency_factor = scaling.number("low_freq_factor", 1.0);
    rotary.high_frequency_factor = scaling.number("high_freq_factor", 4.0);
    rotary.original_positions =
        scaling.number("original_max_position_embeddings", static_cast<double>(maximum_positions));
    fields.refuse(!(rotary.high_frequency_factor > rotary.low_frequency_factor),
                  fmt::format("{}.high_freq_factor must be above low_freq_factor", key));
  }
  const double share = scaling.number("partial_rotary_factor", 1.0);
  fields.refuse(share != 1.0, fmt::format("partial_rotary_factor {} is not supported", share));
  for (const std::string& problem : scaling.problems()) {
    fields.refuse(true, fmt::format("{}.{}", key, problem));
  }
  return rotary;
}

void require_gate(ConfigFields& fields, std::initializer_list<const char*> names,
                  std::initializer_list<std::string_view> wanted) {
  for (const char* name : names) {
    if (fields.has(name)) {
      const Json& value = fields.object().at(name);
      const bool known =
          value.is_string() && std::find(wanted.begin(), wanted.end(), value.get<std::string>()) != wanted.end();
      fields.refuse(!known, fmt::format("{} {} is not supported ({} is)", name, value.dump(), *wanted.begin()));
    }
  }
}

void read_windows(ConfigFields& fields, DecoderDescription& decoder, std::int64_t window,
                  const std::function<bool(std::int64_t block)>& slides) {
  const bool listed = fields.has("layer_types");
  const Json types = listed ? fields.object().at("layer_types") : Json::array();
  if (listed && (!types.is_array() || std::ssize(types) != decoder.blocks)) {
    fields.refuse(true, "layer_types must name the attention of every layer");
    return;
  }
  for (std::int64_t block = 0; block < decoder.blocks; ++block) {
    const auto index = static_cast<std::size_t>(block);
    const bool sliding = listed ? types[index] == "sliding_attention" : slides(block);
    fields.refuse(listed && !sliding && types[index] != "full_attention",
                  fmt::format("layer_types: {} is not supported", listed ? types[index].dump() : ""));
    decoder.windows[index] = sliding ? window : 0;
  }
}

void require_no_problems(const ConfigFields& fields, std::string_view where) {
  require(fields.problems().empty(), Fault::kInput, "{}: {}", where, fmt::join(fields.problems(), "; "));
}

}  // namespace dormer::model
