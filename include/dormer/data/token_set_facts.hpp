#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace dormer::data {

/// What a token set (docs/token_dataset.md) holds, without a model to fit.
struct TokenSetFacts {
  std::int64_t documents = 0;
  std::int64_t tokens = 0;
  std::int64_t vocabulary = 0;  ///< at least this many rows must the model's embedding have
  std::string tokenizer_sha256;
  std::optional<std::int64_t> counted;  ///< tokens whose loss mask is 1; absent: there is no mask, all count
  std::int64_t shortest = 0;            ///< tokens of the shortest document
  std::int64_t median = 0;
  std::int64_t longest = 0;
};

/// Reads offsets and mask, not the tokens. Input errors name the file and the remedy.
[[nodiscard]] TokenSetFacts token_set_facts(const std::filesystem::path& path);

/// Whether a file is marked as a token set. False for what is no HDF5 file.
[[nodiscard]] bool is_token_set(const std::filesystem::path& path);

}  // namespace dormer::data
