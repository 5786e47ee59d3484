#include "dormer/data/token_dataset.hpp"

#include <algorithm>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include "dormer/core/error.hpp"
#include "dormer/storage/checksum.hpp"
#include "dormer/storage/hdf5.hpp"

namespace dormer::data {
namespace {

constexpr std::string_view kFormat = "dormer.tokens/1";
constexpr std::int64_t kPiece = std::int64_t{1} << 20;  // elements read at once while checking
constexpr std::string_view kMakeAgain = "make the file again with launch/prepare_text.py";

const storage::Hdf5Array& require_array(const storage::Hdf5Reader& file, const std::string& where,
                                        std::string_view name, DType dtype) {
  const storage::Hdf5Array* array = file.find(name);
  require(array != nullptr, Fault::kInput, "{} has no data set /{}; {}", where, name, kMakeAgain);
  require(array->dtype == dtype && array->shape.size() == 1, Fault::kInput,
          "/{} in {} is {} with {} dimensions, not {} with one; {}", name, where, name_of(array->dtype),
          array->shape.size(), name_of(dtype), kMakeAgain);
  return *array;
}

// Calls `check(first index, values)` on pieces of fixed length and returns a sum over all of them.
template <typename T, typename Check>
std::string scan(const storage::Hdf5Reader& file, const storage::Hdf5Array& array, const Check& check) {
  std::string sums;
  std::vector<T> values;
  for (std::int64_t begin = 0; begin < array.count(); begin += kPiece) {
    const std::int64_t end = std::min(begin + kPiece, array.count());
    values.resize(static_cast<std::size_t>(end - begin));
    const std::span<std::byte> bytes = std::as_writable_bytes(std::span(values));
    file.read_range(array, begin, end, bytes);
    check(begin, std::span<const T>(values));
    sums += storage::xxh3_128(bytes);
  }
  return storage::xxh3_128(std::as_bytes(std::span(sums)));
}

void check_header(const storage::Hdf5Reader& file, const std::string& where, const TokenDatasetUse& use) {
  const std::optional<std::string> format = file.string_attribute("format");
  require(format == kFormat, Fault::kInput, "{} is not a token set: its attribute format is {}, not '{}'; {}", where,
          format ? "'" + *format + "'" : "missing", kFormat, kMakeAgain);
  const std::optional<std::int64_t> vocabulary = file.integer_attribute("vocab_size");
  require(vocabulary && *vocabulary > 0, Fault::kInput, "{} has no attribute vocab_size; {}", where, kMakeAgain);
  require(*vocabulary <= use.model_vocabulary, Fault::kInput,
          "{} was made for a vocabulary of {} tokens, the model has {}; {} and the model's own tokenizer", where,
          *vocabulary, use.model_vocabulary, kMakeAgain);
  const std::optional<std::string> tokenizer = file.string_attribute("tokenizer_sha256");
  require(tokenizer.has_value(), Fault::kInput, "{} has no attribute tokenizer_sha256; {}", where, kMakeAgain);
  require(!use.tokenizer_sha256 || *use.tokenizer_sha256 == *tokenizer, Fault::kInput,
          "{} was made with another tokenizer ({:.12}…) than the model's ({:.12}…); {} and the model's own tokenizer",
          where, *tokenizer, use.tokenizer_sha256.value_or(""), kMakeAgain);
  require(file.find("loss_mask") == nullptr, Fault::kInput,
          "{} has a loss mask, which data.packing: blocks would ignore; make the file without one", where);
}

}  // namespace

struct TokenDataset::State {
  State(const std::filesystem::path& path, const TokenDatasetUse& use)
      : where(path.string()), length(use.sequence_length), file(storage::Hdf5Reader::open(path, "token set")) {}

  void check_offsets() {
    const storage::Hdf5Array& offsets = require_array(file, where, "offsets", DType::kU64);
    std::uint64_t last = 0;
    offsets_sum = scan<std::uint64_t>(file, offsets, [&](std::int64_t begin, std::span<const std::uint64_t> values) {
      require(begin > 0 || values[0] == 0, Fault::kInput, "/offsets in {} begins with {}, not 0; {}", where, values[0],
              kMakeAgain);
      for (std::size_t i = 0; i < values.size(); ++i) {
        require(values[i] >= last, Fault::kInput, "/offsets in {} falls from {} to {} at position {}; {}", where, last,
                values[i], begin + static_cast<std::int64_t>(i), kMakeAgain);
        last = values[i];
      }
    });
    require(offsets.count() >= 2 && last == static_cast<std::uint64_t>(tokens.count()), Fault::kInput,
            "/offsets in {} ends at {}, but there are {} tokens; {}", where, last, tokens.count(), kMakeAgain);
    documents = offsets.count() - 1;
  }

  void check_tokens(std::int64_t vocabulary) {
    tokens_sum = scan<std::uint32_t>(file, tokens, [&](std::int64_t begin, std::span<const std::uint32_t> values) {
      const auto bad = std::find_if(values.begin(), values.end(), [&](std::uint32_t id) { return id >= vocabulary; });
      require(bad == values.end(), Fault::kInput,
              "{} holds token id {} at position {}, but the vocabulary ends at {}; {}", where,
              bad == values.end() ? 0U : *bad, begin + (bad - values.begin()), vocabulary - 1, kMakeAgain);
    });
  }

  std::string where;
  std::int64_t length;
  storage::Hdf5Reader file;
  storage::Hdf5Array tokens{};
  std::int64_t documents = 0;
  std::string tokens_sum{};
  std::string offsets_sum{};
  std::string fingerprint{};
};

TokenDataset::TokenDataset(const std::filesystem::path& path, const TokenDatasetUse& use)
    : state_(std::make_unique<State>(path, use)) {
  invariant(use.sequence_length > 0, "a sample needs a length, got {}", use.sequence_length);
  State& state = *state_;
  check_header(state.file, state.where, use);
  state.tokens = require_array(state.file, state.where, "tokens", DType::kU32);
  state.check_offsets();
  state.check_tokens(*state.file.integer_attribute("vocab_size"));
  const std::string sums = state.tokens_sum + state.offsets_sum;
  state.fingerprint = storage::xxh3_128(std::as_bytes(std::span(sums)));
  require(samples() > 0, Fault::kInput,
          "{} has {} tokens, too few for one sample of {} and its last target; use more text or a shorter "
          "data.sequence_length",
          state.where, tokens(), state.length);
}

TokenDataset::~TokenDataset() = default;
TokenDataset::TokenDataset(TokenDataset&&) noexcept = default;
TokenDataset& TokenDataset::operator=(TokenDataset&&) noexcept = default;

std::int64_t TokenDataset::samples() const {
  return std::max<std::int64_t>(tokens() - 1, 0) / state_->length;
}
std::int64_t TokenDataset::tokens() const {
  return state_->tokens.count();
}
std::int64_t TokenDataset::documents() const {
  return state_->documents;
}
std::int64_t TokenDataset::sequence_length() const {
  return state_->length;
}
const std::string& TokenDataset::fingerprint() const {
  return state_->fingerprint;
}

at::Tensor TokenDataset::batch(std::span<const std::int64_t> samples) const {
  const std::int64_t width = state_->length + 1;
  at::Tensor result = at::empty({static_cast<std::int64_t>(samples.size()), width}, at::kLong);
  std::int64_t* row = result.mutable_data_ptr<std::int64_t>();
  std::vector<std::uint32_t> tokens(static_cast<std::size_t>(width));
  for (const std::int64_t sample : samples) {
    invariant(sample >= 0 && sample < this->samples(), "sample {} of {} was asked for", sample, this->samples());
    const std::int64_t begin = sample * state_->length;
    state_->file.read_range(state_->tokens, begin, begin + width, std::as_writable_bytes(std::span(tokens)));
    row = std::copy(tokens.begin(), tokens.end(), row);
  }
  return result;
}

}  // namespace dormer::data
