#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace dormer::test {

/// A Llama small enough to train in milliseconds.
struct TinyModel {
  std::int64_t vocabulary = 256;
  std::int64_t hidden = 64;
  std::int64_t blocks = 2;
  std::int64_t heads = 4;
  std::int64_t key_value_heads = 2;
  std::int64_t intermediate = 112;
  std::int64_t maximum_positions = 128;
  bool tied = true;
  std::uint64_t seed = 1;
};

/// Writes a Hugging Face folder with random fp32 weights and a tokenizer of one token per byte.
void write_tiny_model(const std::filesystem::path& folder, const TinyModel& model = {});

/// Writes a token set made with that tokenizer: `tokens` tokens of a seeded random walk, which a model can learn.
void write_tiny_tokens(const std::filesystem::path& file, std::int64_t tokens, std::uint64_t seed,
                       std::int64_t vocabulary = 256);

/// The tokenizer.json of such a folder.
[[nodiscard]] std::string tiny_tokenizer(std::int64_t vocabulary);

}  // namespace dormer::test
