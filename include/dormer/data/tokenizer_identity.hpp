#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace dormer::data {

/// SHA-256 over vocabulary, merges and added tokens of a `tokenizer.json`, in the canonical form of
/// docs/token_dataset.md. Throws an input error for text that is no such file; `where` names it.
[[nodiscard]] std::string tokenizer_sha256(std::string_view tokenizer_json, const std::string& where);

/// The identity of the tokenizer in a model's folder, or nothing where there is no tokenizer.json.
[[nodiscard]] std::optional<std::string> folder_tokenizer_sha256(const std::filesystem::path& folder);

/// One more than the largest token id of the folder's tokenizer.json, added tokens included; nothing where there is no
/// such file.
[[nodiscard]] std::optional<std::int64_t> folder_tokenizer_size(const std::filesystem::path& folder);

}  // namespace dormer::data
