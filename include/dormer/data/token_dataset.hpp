#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "dormer/tensor/forward.hpp"

namespace dormer::data {

/// What a token set must fit.
struct TokenDatasetUse {
  std::int64_t sequence_length = 0;
  std::int64_t model_vocabulary = 0;
  std::optional<std::string> tokenizer_sha256;  ///< of the model's folder; absent: not compared
};

/// A token set (docs/token_dataset.md) cut into samples: the documents one after another, sample i being tokens
/// [i * length, i * length + length]. A sample so has length + 1 tokens, of which it shares the last one, a target,
/// with the first of its follower, an input; every token but the first of the file is a target once. What is left at
/// the end is not used. Reads from the file as samples are asked for. Use from one thread at a time.
class TokenDataset {
 public:
  /// Opens and checks the whole file, reading every token once: format, offsets, ids below the vocabulary, tokenizer,
  /// at least one sample. Input errors name the file, the place and the remedy.
  TokenDataset(const std::filesystem::path& path, const TokenDatasetUse& use);
  ~TokenDataset();
  TokenDataset(TokenDataset&&) noexcept;
  TokenDataset& operator=(TokenDataset&&) noexcept;

  [[nodiscard]] std::int64_t samples() const;
  [[nodiscard]] std::int64_t tokens() const;
  [[nodiscard]] std::int64_t documents() const;
  [[nodiscard]] std::int64_t sequence_length() const;
  /// XXH3 over tokens and offsets: what a resumed run compares.
  [[nodiscard]] const std::string& fingerprint() const;
  /// int64 [samples, length + 1], in the order asked for.
  [[nodiscard]] at::Tensor batch(std::span<const std::int64_t> samples) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dormer::data
