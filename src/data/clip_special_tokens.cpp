#include "data/clip_special_tokens.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/json_extent.hpp"

namespace dormer::data {
namespace {

using nlohmann::ordered_json;

constexpr const char* kConfig = "tokenizer_config.json";
constexpr std::array<const char*, 7> kNamed{"bos_token", "eos_token", "unk_token", "sep_token",
                                            "pad_token", "cls_token", "mask_token"};
constexpr const char* kEnd = "<|endoftext|>";

/// A token as a file writes it: a bare text, or an object with settings.
struct Written {
  std::string content;
  bool bare = true;
  bool special = false;
  std::optional<bool> normalized = std::nullopt;

  /// What nothing is said about is normalized unless it is special.
  [[nodiscard]] bool is_normalized() const { return normalized.value_or(!special); }
  bool operator==(const Written& other) const {
    return content == other.content && bare == other.bare && special == other.special &&
           is_normalized() == other.is_normalized();
  }
};

/// The tokens of the files, before they have ids.
struct Declared {
  std::map<std::int64_t, Written> listed;              ///< added_tokens_decoder and its like, by id
  std::vector<std::pair<std::string, Written>> named;  ///< bos_token and so on, in the order of their adding
  std::vector<Written> extra;                          ///< additional_special_tokens
  std::set<std::string> read_as_special;               ///< contents that count as special in added_tokens.json
  std::optional<double> maximum_length;
};

ordered_json read_object(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file)) {
    return ordered_json::object();
  }
  const std::string text = read_file(file, "tokenizer settings");
  require_shallow_json(text, file.string());
  try {
    ordered_json root = ordered_json::parse(text);
    require(root.is_object(), Fault::kInput, "{} is no JSON object; fetch the model's folder again", file.string());
    return root;
  } catch (const ordered_json::exception& error) {
    fail(Fault::kInput, "{} is no JSON ({}); fetch the model's folder again", file.string(), error.what());
  }
}

bool flag(const ordered_json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

Written token_of(const ordered_json& value, const std::string& where, const std::string& key) {
  if (value.is_string()) {
    return {.content = value.get<std::string>(), .bare = true, .special = false, .normalized = std::nullopt};
  }
  require(value.is_object() && value.contains("content") && value["content"].is_string(), Fault::kInput,
          "{}: {} is no token; fetch the model's folder again", where, quoted_token(key));
  for (const char* unserved : {"lstrip", "rstrip", "single_word"}) {
    require(!flag(value, unserved), Fault::kInput, "{}: {} has {}, which is not computed here; set it to false", where,
            quoted_token(key), unserved);
  }
  Written token{.content = value["content"].get<std::string>(),
                .bare = false,
                .special = flag(value, "special"),
                .normalized = std::nullopt};
  if (value.contains("normalized") && value["normalized"].is_boolean()) {
    token.normalized = flag(value, "normalized");
  }
  return token;
}

void set_named(Declared& declared, const std::string& name, Written token) {
  const auto found = std::find_if(declared.named.begin(), declared.named.end(),
                                  [&name](const auto& entry) { return entry.first == name; });
  if (found == declared.named.end()) {
    declared.named.emplace_back(name, std::move(token));
  } else {
    found->second = std::move(token);
  }
}

/// The keys of a configuration or a map that are tokens; `special`: objects of the map are special by being there.
void read_named(Declared& declared, const ordered_json& object, const std::string& where, bool special) {
  for (const auto& [key, value] : object.items()) {
    const bool listed = key == "additional_special_tokens" || key == "extra_special_tokens";
    const bool token = key.ends_with("_token") && (value.is_string() || value.is_object());
    if (listed && value.is_array()) {
      declared.extra.clear();
      for (const ordered_json& item : value) {
        declared.extra.push_back(token_of(item, where, key));
        declared.extra.back().special |= special && !declared.extra.back().bare;
      }
    } else if (token) {
      Written written = token_of(value, where, key);
      written.special |= special && !written.bare;
      if (special || written.bare) {  // objects of a configuration are not looked into yet when that file is read
        declared.read_as_special.insert(written.content);
      }
      require(!written.content.empty(), Fault::kInput, "{}: {} is empty; fetch the model's folder again", where,
              quoted_token(key));
      set_named(declared, key, std::move(written));
    }
  }
}

void read_configuration(Declared& declared, const ordered_json& config, const std::string& where) {
  read_named(declared, config, where, false);
  require(!flag(config, "split_special_tokens"), Fault::kInput,
          "{}: split_special_tokens is not computed here; set it to false", where);
  if (config.contains("model_max_length")) {
    require(config["model_max_length"].is_number(), Fault::kInput,
            "{}: model_max_length is no number; fetch the model's folder again", where);
    declared.maximum_length = config["model_max_length"].get<double>();
  }
}

void read_listed(Declared& declared, const ordered_json& tokens, const std::string& where) {
  require(tokens.is_object(), Fault::kInput, "{}: added_tokens_decoder is no map; fetch the model's folder again",
          where);
  for (const auto& [key, value] : tokens.items()) {
    const bool number = !key.empty() && key.size() < 10 && key.find_first_not_of("0123456789") == std::string::npos;
    require(number && value.is_object(), Fault::kInput,
            "{}: added_tokens_decoder is no map of ids to tokens; fetch the model's folder again", where);
    declared.listed[std::stoll(key)] = token_of(value, where, "added token " + key);
  }
}

/// added_tokens.json maps contents to ids; the ids order the tokens.
void read_legacy_list(Declared& declared, const std::filesystem::path& file) {
  const ordered_json root = read_object(file);
  for (const auto& [content, id] : root.items()) {
    require(id.is_number_unsigned() && id.get<std::uint64_t>() < (std::uint64_t{1} << 31), Fault::kInput,
            "{}: an id is no whole number from 0 on; fetch the model's folder again", file.string());
    const bool special = declared.read_as_special.contains(content);
    declared.listed[id.get<std::int64_t>()] = {
        .content = content, .bare = false, .special = special, .normalized = !special};
  }
}

void read_tokenizer_list(Declared& declared, const std::filesystem::path& file) {
  const ordered_json root = read_object(file);
  const auto tokens = root.find("added_tokens");
  if (tokens == root.end() || tokens->is_null()) {
    return;
  }
  require(tokens->is_array(), Fault::kInput, "{}: added_tokens is no list; fetch the model's folder again",
          file.string());
  for (const ordered_json& token : *tokens) {
    const bool numbered = token.is_object() && token.contains("id") && token["id"].is_number_unsigned() &&
                          token["id"].get<std::uint64_t>() < (std::uint64_t{1} << 31);
    require(numbered, Fault::kInput, "{}: an added token has no id; fetch the model's folder again", file.string());
    declared.listed[token["id"].get<std::int64_t>()] = token_of(token, file.string(), "an added token");
  }
}

Declared read_declared(const std::filesystem::path& folder) {
  const std::string start = "<|startoftext|>";
  Declared declared;
  for (const char* name : kNamed) {  // the order in which they are added; those without a content are none
    const std::string key = name;
    const bool used = key == "bos_token" || key == "eos_token" || key == "unk_token" || key == "pad_token";
    set_named(declared, key, {.content = !used ? "" : key == "bos_token" ? start : kEnd, .bare = true});
  }
  const std::filesystem::path file = folder / kConfig;
  const ordered_json config = read_object(file);
  read_configuration(declared, config, file.string());
  if (config.contains("added_tokens_decoder")) {
    read_listed(declared, config["added_tokens_decoder"], file.string());
    return declared;
  }
  const std::filesystem::path map = folder / "special_tokens_map.json";
  read_named(declared, read_object(map), map.string(), true);
  read_legacy_list(declared, folder / "added_tokens.json");
  read_tokenizer_list(declared, folder / "tokenizer.json");
  return declared;
}

/// In the order of their adding, as transformers chooses it.
std::vector<Written> tokens_to_add(const Declared& declared) {
  std::vector<Written> tokens;
  const auto is_listed = [&declared](const std::string& content) {
    return std::any_of(declared.listed.begin(), declared.listed.end(),
                       [&content](const auto& entry) { return entry.second.content == content; });
  };
  const auto add = [&](const Written& token) {
    if (!is_listed(token.content) && std::find(tokens.begin(), tokens.end(), token) == tokens.end()) {
      tokens.push_back(token);
    }
  };
  for (const auto& [id, token] : declared.listed) {
    tokens.push_back(token);
  }
  for (const auto& [name, token] : declared.named) {
    add(token);
  }
  for (const Written& token : declared.extra) {
    add(token);
  }
  std::erase_if(tokens, [](const Written& token) { return token.content.empty(); });
  for (Written& token : tokens) {
    const bool named = std::any_of(declared.named.begin(), declared.named.end(),
                                   [&token](const auto& entry) { return entry.second.content == token.content; });
    token.special |= token.bare || named;
  }
  return tokens;
}

}  // namespace

SpecialTokens read_special_tokens(const std::filesystem::path& folder, const ClipVocabulary& vocabulary) {
  const Declared declared = read_declared(folder);
  SpecialTokens result;
  auto next = static_cast<std::int64_t>(vocabulary.ids.size());
  for (const Written& token : tokens_to_add(declared)) {
    const auto same = std::find_if(result.added.begin(), result.added.end(),
                                   [&token](const AddedToken& added) { return added.content == token.content; });
    if (same != result.added.end()) {
      same->normalized = token.is_normalized();
      continue;
    }
    const auto known = vocabulary.ids.find(token.content);
    const std::int64_t id = known != vocabulary.ids.end() ? known->second : next++;
    result.added.push_back({.content = token.content, .id = id, .normalized = token.is_normalized()});
  }
  const auto named = [&declared](const char* name) -> const std::string& {
    return std::find_if(declared.named.begin(), declared.named.end(),
                        [name](const auto& entry) { return entry.first == name; })
        ->second.content;
  };
  const auto id_of = [&result](const std::string& content) {
    return std::find_if(result.added.begin(), result.added.end(),
                        [&content](const AddedToken& token) { return token.content == content; })
        ->id;
  };
  for (const char* name : {"bos_token", "eos_token"}) {
    require(vocabulary.ids.contains(named(name)), Fault::kInput,
            "{} has no token {}, the {} of {}; fetch the model's folder again", vocabulary.ids_file,
            quoted_token(named(name)), name, (folder / kConfig).string());
  }
  result.begin = id_of(named("bos_token"));
  result.end = id_of(named("eos_token"));
  result.pad = id_of(named("pad_token"));
  result.unknown = named("unk_token");
  constexpr double kAnyLength = 1e9;  // what has no limit writes 1e30
  if (const double length = declared.maximum_length.value_or(kAnyLength); length < kAnyLength) {
    require(length >= 3, Fault::kInput,
            "{}: model_max_length {} leaves no room for a token; fetch the model's folder again",
            (folder / kConfig).string(), length);
    result.maximum_length = static_cast<std::int64_t>(length);
  }
  return result;
}

}  // namespace dormer::data
