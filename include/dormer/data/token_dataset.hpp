#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "dormer/data/token_batch.hpp"

namespace dormer::data {

/// How documents become samples.
enum class Packing {
  kAuto,       ///< documents where there is a loss mask, else blocks
  kBlocks,     ///< one stream cut into blocks
  kDocuments,  ///< several whole documents in a row, attention and positions kept apart
};

/// What happens to documents longer than a sample under `Packing::kDocuments`.
enum class LongDocuments { kTruncate, kDrop, kError };

/// What a token set must fit.
struct TokenDatasetUse {
  std::int64_t sequence_length = 0;
  std::int64_t model_vocabulary = 0;
  std::optional<std::string> tokenizer_sha256;  ///< of the model's folder; absent: not compared
  Packing packing = Packing::kAuto;
  LongDocuments too_long = LongDocuments::kTruncate;
};

/// A token set (docs/token_dataset.md) cut into samples.
///
/// Blocks: the documents one after another, sample i being tokens [i * length, i * length + length]. A sample so has
/// length + 1 tokens, of which it shares the last one, a target, with the first of its follower, an input; every token
/// but the first of the file is a target once. What is left at the end is not used.
///
/// Documents: rows of `length` tokens that hold whole documents, filled by best fit; the order of rows depends on the
/// file alone. No token is predicted from another document.
///
/// A token counts as a target where the loss mask is 1, or everywhere without one. Reads from the file as samples are
/// asked for. Use from one thread at a time.
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
  /// Targets of a sample that count: known before any token of it is read.
  [[nodiscard]] std::int64_t targets(std::int64_t sample) const;
  /// One line for a person: documents, rows, how full they are, what was cut or left out.
  [[nodiscard]] std::string summary() const;
  /// XXH3 over tokens, offsets and mask: what a resumed run compares.
  [[nodiscard]] const std::string& fingerprint() const;
  /// These samples, in the order asked for.
  [[nodiscard]] TokenBatch batch(std::span<const std::int64_t> samples) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dormer::data
