#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "decoder_description.hpp"

namespace dormer::model {

/// Reads fields of a config.json and gathers everything that is wrong with them, so that all is said at once. A field
/// that is null counts as absent, but for `size_or_null`.
class ConfigFields {
 public:
  explicit ConfigFields(const nlohmann::json& object) : object_(object) {}

  [[nodiscard]] bool has(const char* name) const { return object_.contains(name) && !object_.at(name).is_null(); }
  [[nodiscard]] const nlohmann::json& object() const { return object_; }
  [[nodiscard]] const std::vector<std::string>& problems() const { return problems_; }

  /// A positive integer; without `fallback` it must be there.
  std::int64_t size(const char* name, std::optional<std::int64_t> fallback = std::nullopt);
  /// A positive integer, 0 where the file says null, `fallback` where it says nothing.
  std::int64_t size_or_null(const char* name, std::int64_t fallback);
  /// A positive number.
  double number(const char* name, double fallback);
  /// A positive number, 0 where the file says null, `fallback` where it says nothing.
  double number_or_null(const char* name, double fallback);
  bool flag(const char* name, bool fallback);
  /// Notes `text` as a problem if `condition` holds.
  void refuse(bool condition, std::string text);
  /// Notes every one of these fields that is there as not supported.
  void refuse_fields(std::initializer_list<const char*> names);

 private:
  const nlohmann::json& object_;
  std::vector<std::string> problems_;
};

/// The sizes that every family spells alike; `tied_head` is what the family means where tie_word_embeddings is absent.
[[nodiscard]] DecoderDescription read_sizes(ConfigFields& fields, std::string family, bool tied_head);

/// The rotary embedding: rope_theta and rope_scaling (transformers 4) or rope_parameters (5).
[[nodiscard]] RotaryConfig read_rotary(ConfigFields& fields, std::int64_t maximum_positions);

/// The rotary embedding that an object of rope_parameters describes; `key` names it in messages.
[[nodiscard]] RotaryConfig read_rotary_object(ConfigFields& fields, const nlohmann::json& object,
                                              const std::string& key, double theta, std::int64_t maximum_positions);

/// Notes a gate function other than `wanted` (its names in transformers) as a problem, under each of `names`.
void require_gate(ConfigFields& fields, std::initializer_list<const char*> names,
                  std::initializer_list<std::string_view> wanted);

/// The window of every block, by layer_types ("sliding_attention" or "full_attention") or else by `slides(block)`.
void read_windows(ConfigFields& fields, DecoderDescription& decoder, std::int64_t window,
                  const std::function<bool(std::int64_t block)>& slides);

/// Throws one input error that names, for `where`, every problem.
void require_no_problems(const ConfigFields& fields, std::string_view where);

}  // namespace dormer::model
