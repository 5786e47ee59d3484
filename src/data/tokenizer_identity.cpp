#include "dormer/data/tokenizer_identity.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/json_extent.hpp"
#include "dormer/core/sha256.hpp"

namespace dormer::data {
namespace {

using nlohmann::json;

struct Entry {
  std::int64_t id = 0;
  std::string text;
  std::string suffix;
};

std::string field(const std::string& text) {
  return fmt::format("{}:{}", text.size(), text);
}

std::int64_t id_of(const json& id) {
  constexpr std::int64_t kMost = std::int64_t{1} << 31;
  const bool fits = id.is_number_integer() && id.get<std::int64_t>() >= 0 && id.get<std::int64_t>() < kMost;
  if (!fits) {
    throw json::other_error::create(0, "a token's id is no whole number from 0 on", &id);
  }
  return id.get<std::int64_t>();
}

std::vector<Entry> by_id(std::vector<Entry> entries) {
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::tie(a.id, a.text) < std::tie(b.id, b.text); });
  return entries;
}

std::vector<Entry> vocabulary_of(const json& model) {
  std::vector<Entry> entries;
  const json& vocabulary = model.at("vocab");
  if (vocabulary.is_object()) {
    for (const auto& [token, id] : vocabulary.items()) {
      entries.push_back({id_of(id), token, ""});
    }
    return by_id(std::move(entries));
  }
  for (const json& pair : vocabulary) {  // Unigram: [token, score], numbered by position
    const auto bits = std::bit_cast<std::uint64_t>(pair.at(1).get<double>());
    entries.push_back(
        {static_cast<std::int64_t>(entries.size()), pair.at(0).get<std::string>(), fmt::format(" {:016x}", bits)});
  }
  return entries;
}

std::pair<std::string, std::string> merge_of(const json& merge) {
  if (merge.is_array()) {
    return {merge.at(0).get<std::string>(), merge.at(1).get<std::string>()};
  }
  const auto text = merge.get<std::string>();
  const std::size_t blank = text.find(' ');
  require(blank != std::string::npos, Fault::kInput, "a merge without a blank: '{}'", text);
  return {text.substr(0, blank), text.substr(blank + 1)};
}

const json& list_of(const json& object, const char* name) {
  static const json kNone = json::array();
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? kNone : *found;
}

std::string identity_of(const json& tokenizer) {
  Sha256 hash;
  const json& model = tokenizer.at("model");
  const std::vector<Entry> vocabulary = vocabulary_of(model);
  hash.update(fmt::format("dormer.tokenizer/1\nvocabulary {}\n", vocabulary.size()));
  for (const Entry& entry : vocabulary) {
    hash.update(fmt::format("{} {}{}\n", entry.id, field(entry.text), entry.suffix));
  }
  const json& merges = list_of(model, "merges");
  hash.update(fmt::format("merges {}\n", merges.size()));
  for (const json& merge : merges) {
    const auto [left, right] = merge_of(merge);
    hash.update(fmt::format("{} {}\n", field(left), field(right)));
  }
  std::vector<Entry> added;
  for (const json& token : list_of(tokenizer, "added_tokens")) {
    const json special = token.value("special", json(false));
    added.push_back({id_of(token.at("id")), token.at("content").get<std::string>(), special == json(true) ? "1" : "0"});
  }
  hash.update(fmt::format("added {}\n", added.size()));
  for (const Entry& entry : by_id(std::move(added))) {
    hash.update(fmt::format("{} {} {}\n", entry.id, field(entry.text), entry.suffix));
  }
  return hash.finish();
}

}  // namespace

std::string tokenizer_sha256(std::string_view tokenizer_json, const std::string& where) {
  require_shallow_json(tokenizer_json, where);
  try {
    return identity_of(json::parse(tokenizer_json));
  } catch (const json::exception& error) {
    fail(Fault::kInput, "{} is not a tokenizer.json ({}); fetch the model's folder again", where, error.what());
  }
}

std::optional<std::string> folder_tokenizer_sha256(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "tokenizer.json";
  if (!std::filesystem::exists(file)) {
    return std::nullopt;
  }
  return tokenizer_sha256(read_file(file, "tokenizer"), file.string());
}

std::optional<std::int64_t> folder_tokenizer_size(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "tokenizer.json";
  if (!std::filesystem::exists(file)) {
    return std::nullopt;
  }
  try {
    const std::string text = read_file(file, "tokenizer");
    require_shallow_json(text, file.string());
    const json tokenizer = json::parse(text);
    std::int64_t size = 0;
    for (const Entry& entry : vocabulary_of(tokenizer.at("model"))) {
      size = std::max(size, entry.id + 1);
    }
    for (const json& token : list_of(tokenizer, "added_tokens")) {
      size = std::max(size, id_of(token.at("id")) + 1);
    }
    return size;
  } catch (const json::exception& error) {
    fail(Fault::kInput, "{} is not a tokenizer.json ({}); fetch the model's folder again", file.string(), error.what());
  }
}

}  // namespace dormer::data
