#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace dormer::test {

/// The contents of a token set; the defaults are a good one.
struct TokenFile {
  std::vector<std::uint32_t> tokens{};
  std::vector<std::uint64_t> offsets{};  ///< empty: one document
  std::optional<std::string> format = "dormer.tokens/1";
  std::optional<std::string> tokenizer_sha256 = std::string(64, '0');
  std::optional<std::int64_t> vocab_size = 256;
  std::vector<std::uint8_t> loss_mask{};  ///< empty: none
};

/// Writes it as HDF5.
void write_token_file(const std::filesystem::path& path, const TokenFile& contents);

}  // namespace dormer::test
