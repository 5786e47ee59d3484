#include "llama_config.hpp"

#include <cmath>
#include <limits>
#include <optional>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "dormer/core/error.hpp"

namespace dormer::model {
namespace {

using Json = nlohmann::json;

/// Reads fields and gathers everything that is wrong with them.
class FieldReader {
 public:
  explicit FieldReader(const Json& object) : object_(object) {}

  std::int64_t size(const char* name, std::optional<std::int64_t> fallback = std::nullopt) {
    const auto found = object_.find(name);
    if (found == object_.end() || found->is_null()) {
      if (!fallback) {
        problems_.push_back(fmt::format("{} is missing", name));
      }
      return fallback.value_or(1);
    }
    constexpr std::int64_t kLargest = std::int64_t{1} << 31;
    if (!found->is_number_integer() || found->get<std::int64_t>() < 1 || found->get<std::int64_t>() > kLargest) {
      problems_.push_back(fmt::format("{} must be a positive integer, not {}", name, found->dump()));
      return 1;
    }
    return found->get<std::int64_t>();
  }

  double number(const char* name, double fallback) {
    const auto found = object_.find(name);
    if (found == object_.end() || found->is_null()) {
      return fallback;
    }
    if (!found->is_number() || !(found->get<double>() > 0.0) || !std::isfinite(found->get<double>())) {
      problems_.push_back(fmt::format("{} must be a positive number, not {}", name, found->dump()));
      return fallback;
    }
    return found->get<double>();
  }

  bool flag(const char* name, bool fallback) {
    const auto found = object_.find(name);
    if (found == object_.end() || found->is_null()) {
      return fallback;
    }
    if (!found->is_boolean()) {
      problems_.push_back(fmt::format("{} must be true or false, not {}", name, found->dump()));
      return fallback;
    }
    return found->get<bool>();
  }

  void refuse(bool condition, std::string text) {
    if (condition) {
      problems_.push_back(std::move(text));
    }
  }

  [[nodiscard]] bool has(const char* name) const { return object_.contains(name) && !object_.at(name).is_null(); }
  [[nodiscard]] const Json& object() const { return object_; }
  [[nodiscard]] std::vector<std::string>& problems() { return problems_; }

 private:
  const Json& object_;
  std::vector<std::string> problems_;
};

RotaryConfig parse_rotary(FieldReader& reader, std::int64_t maximum_positions) {
  RotaryConfig rotary;
  rotary.theta = reader.number("rope_theta", 10'000.0);
  const char* key = reader.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  if (!reader.has(key)) {
    return rotary;
  }
  const Json& object = reader.object().at(key);
  if (!object.is_object()) {
    reader.refuse(true, fmt::format("{} must be an object", key));
    return rotary;
  }
  FieldReader scaling(object);
  const char* type_key = scaling.has("rope_type") ? "rope_type" : "type";
  if (scaling.has(type_key) && object.at(type_key).is_string()) {
    rotary.type = object.at(type_key).get<std::string>();
  }
  rotary.theta = scaling.number("rope_theta", rotary.theta);
  const bool known = rotary.type == "default" || rotary.type == "linear" || rotary.type == "llama3";
  reader.refuse(!known, fmt::format("rope type '{}' is not supported (default, linear and llama3 are)", rotary.type));
  if (rotary.type == "linear" || rotary.type == "llama3") {
    reader.refuse(!scaling.has("factor"), fmt::format("{}.factor is missing", key));
    rotary.factor = scaling.number("factor", 1.0);
  }
  if (rotary.type == "llama3") {
    rotary.low_frequency_factor = scaling.number("low_freq_factor", 1.0);
    rotary.high_frequency_factor = scaling.number("high_freq_factor", 4.0);
    rotary.original_positions =
        scaling.number("original_max_position_embeddings", static_cast<double>(maximum_positions));
    reader.refuse(!(rotary.high_frequency_factor > rotary.low_frequency_factor),
                  fmt::format("{}.high_freq_factor must be above low_freq_factor", key));
  }
  const double share = scaling.number("partial_rotary_factor", 1.0);
  reader.refuse(share != 1.0, fmt::format("partial_rotary_factor {} is not supported", share));
  for (const std::string& problem : scaling.problems()) {
    reader.refuse(true, fmt::format("{}.{}", key, problem));
  }
  return rotary;
}

std::vector<std::int64_t> parse_end_of_text(FieldReader& reader) {
  std::vector<std::int64_t> ids;
  if (!reader.has("eos_token_id")) {
    return ids;
  }
  const Json& value = reader.object().at("eos_token_id");
  const Json list = value.is_array() ? value : Json::array({value});
  for (const Json& id : list) {
    if (!id.is_number_integer() || id.get<std::int64_t>() < 0) {
      reader.refuse(true, fmt::format("eos_token_id must be token ids, not {}", value.dump()));
      break;
    }
    ids.push_back(id.get<std::int64_t>());
  }
  return ids;
}

void refuse_unsupported(FieldReader& reader) {
  const Json& object = reader.object();
  reader.refuse(reader.has("quantization_config"),
                "quantization_config: quantized bases are not supported; use the unquantized folder");
  for (const char* name :
       {"num_local_experts", "num_experts", "sliding_window", "attn_logit_softcapping", "final_logit_softcapping",
        "logit_scale", "embedding_multiplier", "residual_multiplier", "attention_multiplier"}) {
    reader.refuse(reader.has(name), fmt::format("{} is not supported in this family", name));
  }
  if (reader.has("hidden_act")) {
    reader.refuse(object.at("hidden_act") != "silu" && object.at("hidden_act") != "swish",
                  fmt::format("hidden_act {} is not supported (silu is)", object.at("hidden_act").dump()));
  }
  reader.refuse(reader.number("partial_rotary_factor", 1.0) != 1.0, "partial_rotary_factor is not supported");
  reader.refuse(reader.has("pretraining_tp") && object.at("pretraining_tp") != 1,
                "pretraining_tp other than 1 is not supported");
}

}  // namespace

LlamaConfig parse_llama_config(const std::string& text, std::string_view where) {
  const Json object = Json::parse(text, nullptr, false);
  require(object.is_object(), Fault::kInput, "{} is not a JSON object", where);
  FieldReader reader(object);
  LlamaConfig config;
  config.vocabulary = reader.size("vocab_size");
  config.hidden = reader.size("hidden_size");
  config.intermediate = reader.size("intermediate_size");
  config.blocks = reader.size("num_hidden_layers");
  config.heads = reader.size("num_attention_heads");
  config.key_value_heads = reader.size("num_key_value_heads", config.heads);
  const bool explicit_width = reader.has("head_dim");
  config.head_width = explicit_width ? reader.size("head_dim") : config.hidden / config.heads;
  config.maximum_positions = reader.size("max_position_embeddings", 2'048);
  config.epsilon = reader.number("rms_norm_eps", 1e-6);
  config.tied_head = reader.flag("tie_word_embeddings", false);
  config.attention_bias = reader.flag("attention_bias", false);
  config.mlp_bias = reader.flag("mlp_bias", false);
  config.rotary = parse_rotary(reader, config.maximum_positions);
  config.end_of_text = parse_end_of_text(reader);
  refuse_unsupported(reader);
  reader.refuse(!explicit_width && config.hidden % config.heads != 0,
                fmt::format("hidden_size {} is not a multiple of num_attention_heads {} and head_dim is missing",
                            config.hidden, config.heads));
  reader.refuse(config.heads % config.key_value_heads != 0,
                fmt::format("num_attention_heads {} is not a multiple of num_key_value_heads {}", config.heads,
                            config.key_value_heads));
  reader.refuse(config.head_width % 2 != 0,
                fmt::format("head_dim {} is odd: rotary embedding needs halves", config.head_width));
  require(reader.problems().empty(), Fault::kInput, "{}: {}", where, fmt::join(reader.problems(), "; "));
  return config;
}

}  // namespace dormer::model
