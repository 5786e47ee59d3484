#include "dormer/data/token_set_facts.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "dormer/core/error.hpp"
#include "dormer/storage/hdf5.hpp"

namespace dormer::data {
namespace {

constexpr std::string_view kFormat = "dormer.tokens/1";

std::vector<std::int64_t> document_lengths(const storage::Hdf5Reader& file, const storage::Hdf5Array& offsets,
                                           const std::string& where) {
  std::vector<std::uint64_t> values(static_cast<std::size_t>(offsets.count()));
  file.read(offsets, std::as_writable_bytes(std::span(values)));
  std::vector<std::int64_t> lengths;
  for (std::size_t i = 1; i < values.size(); ++i) {
    require(values[i] >= values[i - 1], Fault::kInput, "/offsets in {} falls at position {}; make the file again",
            where, i);
    lengths.push_back(static_cast<std::int64_t>(values[i] - values[i - 1]));
  }
  std::ranges::sort(lengths);
  return lengths;
}

std::int64_t ones_of(const storage::Hdf5Reader& file, const storage::Hdf5Array& mask) {
  constexpr std::int64_t kPiece = std::int64_t{1} << 20;
  std::int64_t total = 0;
  std::vector<std::uint8_t> values;
  for (std::int64_t begin = 0; begin < mask.count(); begin += kPiece) {
    const std::int64_t end = std::min(begin + kPiece, mask.count());
    values.resize(static_cast<std::size_t>(end - begin));
    file.read_range(mask, begin, end, std::as_writable_bytes(std::span(values)));
    total += std::ranges::count(values, std::uint8_t{1});
  }
  return total;
}

}  // namespace

bool is_token_set(const std::filesystem::path& path) {
  try {
    return storage::Hdf5Reader::open_foreign(path, "token set").string_attribute("format") == kFormat;
  } catch (const Error&) {
    return false;
  }
}

TokenSetFacts token_set_facts(const std::filesystem::path& path) {
  const std::string where = path.string();
  const storage::Hdf5Reader file = storage::Hdf5Reader::open_foreign(path, "token set");
  const storage::Hdf5Array* tokens = file.find("tokens");
  const storage::Hdf5Array* offsets = file.find("offsets");
  const storage::Hdf5Array* mask = file.find("loss_mask");
  require(tokens != nullptr && offsets != nullptr && offsets->dtype == DType::kU64 && offsets->count() >= 2 &&
              (mask == nullptr || (mask->dtype == DType::kU8 && mask->count() == tokens->count())),
          Fault::kInput, "{} is no whole token set; make the file again with launch/prepare_text.py", where);
  TokenSetFacts facts;
  facts.documents = offsets->count() - 1;
  facts.tokens = tokens->count();
  facts.vocabulary = file.integer_attribute("vocab_size").value_or(0);
  facts.tokenizer_sha256 = file.string_attribute("tokenizer_sha256").value_or("");
  const std::vector<std::int64_t> lengths = document_lengths(file, *offsets, where);
  facts.shortest = lengths.front();
  facts.median = lengths[lengths.size() / 2];
  facts.longest = lengths.back();
  if (mask != nullptr) {
    facts.counted = ones_of(file, *mask);
  }
  return facts;
}

}  // namespace dormer::data
