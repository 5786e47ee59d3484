#include "data/clip_vocabulary.hpp"

#include <unordered_set>
#include <utility>

#include <nlohmann/json.hpp>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/json_extent.hpp"

namespace dormer::data {
namespace {

using nlohmann::json;

json parsed(std::string_view text, const std::string& where) {
  require_shallow_json(text, where);
  try {
    return json::parse(text);
  } catch (const json::exception& error) {
    fail(Fault::kInput, "{} is no JSON ({}); fetch the model's folder again", where, error.what());
  }
}

TokenIds ids_of(const json& vocabulary, const std::string& where) {
  require(vocabulary.is_object() && !vocabulary.empty(), Fault::kInput,
          "{}: the vocabulary is no map of tokens to ids; fetch the model's folder again", where);
  constexpr std::uint64_t kMost = std::uint64_t{1} << 31;
  TokenIds ids;
  ids.reserve(vocabulary.size());
  std::unordered_set<std::int64_t> seen;
  for (const auto& [token, id] : vocabulary.items()) {
    require(id.is_number_unsigned() && id.get<std::uint64_t>() < kMost, Fault::kInput,
            "{}: the id of token {} is no whole number from 0 on; fetch the model's folder again", where,
            quoted_token(token));
    const auto value = id.get<std::int64_t>();
    require(seen.insert(value).second, Fault::kInput, "{}: two tokens have the id {}; fetch the model's folder again",
            where, value);
    ids.emplace(token, value);
  }
  return ids;
}

Merge merge_of(std::string_view text, const std::string& place) {
  const std::size_t blank = text.find(' ');
  const bool two = blank != std::string_view::npos && blank > 0 && blank + 1 < text.size() &&
                   text.find(' ', blank + 1) == std::string_view::npos;
  require(two, Fault::kInput, "{}: a merge is two tokens with a blank between; fetch the model's folder again", place);
  return {std::string(text.substr(0, blank)), std::string(text.substr(blank + 1))};
}

Merge merge_of(const json& merge, const std::string& place) {
  if (merge.is_string()) {
    return merge_of(std::string_view(merge.get_ref<const std::string&>()), place);
  }
  require(merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string(), Fault::kInput,
          "{}: a merge is two tokens; fetch the model's folder again", place);
  return {merge[0].get<std::string>(), merge[1].get<std::string>()};
}

}  // namespace

std::string quoted_token(std::string_view token) {
  return json(token).dump(-1, ' ', false, json::error_handler_t::replace);
}

TokenIds parse_vocabulary(std::string_view text, const std::string& where) {
  return ids_of(parsed(text, where), where);
}

std::vector<Merge> parse_merges(std::string_view text, const std::string& where) {
  std::vector<Merge> merges;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    if (line.starts_with("#version") || (line.empty() && text.empty())) {
      continue;
    }
    merges.push_back(merge_of(line, fmt::format("{}:{}", where, number)));
  }
  return merges;
}

ClipVocabulary parse_tokenizer_json(std::string_view text, const std::string& where) {
  const json root = parsed(text, where);
  require(root.is_object() && root.contains("model") && root["model"].is_object() && root["model"].contains("vocab") &&
              root["model"].contains("merges") && root["model"]["merges"].is_array(),
          Fault::kInput, "{} holds no byte-pair vocabulary (model.vocab, model.merges); fetch the model's folder again",
          where);
  ClipVocabulary vocabulary{
      .ids_file = where, .merges_file = where, .ids = ids_of(root["model"]["vocab"], where), .merges = {}};
  for (const json& merge : root["model"]["merges"]) {
    vocabulary.merges.push_back(merge_of(merge, fmt::format("{}: merge {}", where, vocabulary.merges.size() + 1)));
  }
  return vocabulary;
}

ClipVocabulary read_clip_vocabulary(const std::filesystem::path& folder) {
  const std::filesystem::path whole = folder / "tokenizer.json";
  if (std::filesystem::exists(whole)) {
    return parse_tokenizer_json(read_file(whole, "tokenizer"), whole.string());
  }
  const std::filesystem::path ids = folder / "vocab.json";
  const std::filesystem::path merges = folder / "merges.txt";
  for (const std::filesystem::path& file : {ids, merges}) {
    require(std::filesystem::exists(file), Fault::kInput,
            "{} is missing: a CLIP tokenizer is vocab.json and merges.txt, or tokenizer.json; fetch the model's folder "
            "again",
            file.string());
  }
  return {.ids_file = ids.string(),
          .merges_file = merges.string(),
          .ids = parse_vocabulary(read_file(ids, "vocabulary"), ids.string()),
          .merges = parse_merges(read_file(merges, "merges"), merges.string())};
}

}  // namespace dormer::data
