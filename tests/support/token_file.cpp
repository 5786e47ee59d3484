#include "support/token_file.hpp"

#include <span>

#include "dormer/core/atomic_file.hpp"
#include "dormer/storage/hdf5.hpp"

namespace dormer::test {

void write_token_file(const std::filesystem::path& path, const TokenFile& contents) {
  storage::Hdf5Writer writer;
  if (contents.format) {
    writer.set_attribute("format", *contents.format);
  }
  if (contents.tokenizer_sha256) {
    writer.set_attribute("tokenizer_sha256", *contents.tokenizer_sha256);
  }
  if (contents.vocab_size) {
    writer.set_attribute("vocab_size", *contents.vocab_size);
  }
  const auto count = static_cast<std::int64_t>(contents.tokens.size());
  const std::vector<std::uint64_t> offsets =
      contents.offsets.empty() ? std::vector<std::uint64_t>{0, contents.tokens.size()} : contents.offsets;
  writer.add_array({"tokens", DType::kU32, {count}, std::as_bytes(std::span(contents.tokens))});
  writer.add_array(
      {"offsets", DType::kU64, {static_cast<std::int64_t>(offsets.size())}, std::as_bytes(std::span(offsets))});
  if (!contents.loss_mask.empty()) {
    const auto values = static_cast<std::int64_t>(contents.loss_mask.size());
    writer.add_array({"loss_mask", DType::kU8, {values}, std::as_bytes(std::span(contents.loss_mask))});
  }
  write_file_atomically(path, writer.finish().bytes());
}

}  // namespace dormer::test
