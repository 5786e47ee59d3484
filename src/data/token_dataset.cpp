#include "dormer/data/token_dataset.hpp"

#include <algorithm>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include "document_packing.hpp"
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
          "{} was made for a vocabulary of {} tokens, the model has {}; {} and the model's own tokenizer, or, where "
          "that has more tokens than the model, set model.added_tokens: train",
          where, *vocabulary, use.model_vocabulary, kMakeAgain);
  const std::optional<std::string> tokenizer = file.string_attribute("tokenizer_sha256");
  require(tokenizer.has_value(), Fault::kInput, "{} has no attribute tokenizer_sha256; {}", where, kMakeAgain);
  require(!use.tokenizer_sha256 || *use.tokenizer_sha256 == *tokenizer, Fault::kInput,
          "{} was made with another tokenizer ({:.12}…) than the model's ({:.12}…); {} and the model's own tokenizer",
          where, *tokenizer, use.tokenizer_sha256.value_or(""), kMakeAgain);
}

}  // namespace

struct TokenDataset::State {
  State(const std::filesystem::path& path, const TokenDatasetUse& use)
      : where(path.string()), length(use.sequence_length), file(storage::Hdf5Reader::open_foreign(path, "token set")) {}

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

  /// How many mask bytes are 1 before each of these positions (rising); without a mask, the positions themselves.
  std::vector<std::int64_t> counted_before(const std::vector<std::int64_t>& positions) {
    if (mask == nullptr) {
      return positions;
    }
    std::vector<std::int64_t> result;
    std::int64_t total = 0;
    mask_sum = scan<std::uint8_t>(file, *mask, [&](std::int64_t begin, std::span<const std::uint8_t> values) {
      for (std::size_t i = 0; i < values.size(); ++i) {
        const std::int64_t position = begin + static_cast<std::int64_t>(i);
        while (result.size() < positions.size() && positions[result.size()] <= position) {
          result.push_back(total);
        }
        require(values[i] <= 1, Fault::kInput, "/loss_mask in {} holds {} at position {}, not 0 or 1; {}", where,
                values[i], position, kMakeAgain);
        total += values[i];
      }
    });
    result.resize(positions.size(), total);
    return result;
  }

  void find_mask() {
    if (file.find("loss_mask") != nullptr) {
      mask = &require_array(file, where, "loss_mask", DType::kU8);
      require(mask->count() == tokens.count(), Fault::kInput, "/loss_mask in {} has {} values for {} tokens; {}", where,
              mask->count(), tokens.count(), kMakeAgain);
    }
  }

  void cut_into_blocks() {
    block_count = std::max<std::int64_t>(tokens.count() - 1, 0) / length;
    require(block_count > 0, Fault::kInput,
            "{} has {} tokens, too few for one sample of {} and its last target; use more text or a shorter "
            "data.sequence_length",
            where, tokens.count(), length);
    if (mask == nullptr) {
      return;
    }
    std::vector<std::int64_t> ends;
    for (std::int64_t block = 0; block <= block_count; ++block) {
      ends.push_back(block * length + 1);
    }
    const std::vector<std::int64_t> counted = counted_before(ends);
    for (std::size_t block = 0; block + 1 < ends.size(); ++block) {
      target_counts.push_back(counted[block + 1] - counted[block]);
    }
    require(counted.back() > counted.front(), Fault::kInput, "no token of {} counts by its loss mask; {}", where,
            kMakeAgain);
  }

  std::vector<std::uint64_t> read_offsets() const {
    const storage::Hdf5Array& array = *file.find("offsets");
    std::vector<std::uint64_t> offsets(static_cast<std::size_t>(array.count()));
    file.read_range(array, 0, array.count(), std::as_writable_bytes(std::span(offsets)));
    return offsets;
  }

  void pack(LongDocuments too_long) {
    const std::vector<std::uint64_t> offsets = read_offsets();
    std::vector<std::int64_t> ends;  // of the targets of each document: after its first token, after its last
    for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
      const auto begin = static_cast<std::int64_t>(offsets[i]);
      const std::int64_t whole = static_cast<std::int64_t>(offsets[i + 1]) - begin;
      require(too_long != LongDocuments::kError || whole <= length, Fault::kInput,
              "{}: document {} has {} tokens, more than the {} of data.sequence_length; make it longer, or write "
              "data.too_long: truncate or drop",
              where, i, whole, length);
      ends.push_back(begin + 1);
      ends.push_back(begin + std::clamp<std::int64_t>(whole, 1, length));
    }
    const std::vector<std::int64_t> counted = counted_before(ends);
    std::vector<std::int64_t> targets;
    for (std::size_t i = 0; i < ends.size(); i += 2) {
      targets.push_back(counted[i + 1] - counted[i]);
    }
    drops_long = too_long == LongDocuments::kDrop;
    plan = pack_documents(offsets, targets, length, drops_long);
    require(!plan->rows.empty(), Fault::kInput,
            "{} has no document with a token to learn; a document needs two tokens, one of them counted", where);
    for (const std::vector<PackedDocument>& row : plan->rows) {
      std::int64_t total = 0;
      for (const PackedDocument& document : row) {
        total += document.targets;
        packed_tokens += document.length;
      }
      target_counts.push_back(total);
    }
  }

  /// Fills one row of a batch from tokens [begin, begin + count): inputs, targets that count, and where they begin.
  struct Row {
    std::int64_t* tokens;
    std::int64_t* targets;
    std::int64_t* document_begin;  // null under blocks
  };

  void read(std::int64_t begin, std::int64_t count, std::int64_t at, const Row& row) const {
    std::vector<std::uint32_t> ids(static_cast<std::size_t>(count));
    file.read_range(tokens, begin, begin + count, std::as_writable_bytes(std::span(ids)));
    std::vector<std::uint8_t> counts(static_cast<std::size_t>(count), 1);
    if (mask != nullptr) {
      file.read_range(*mask, begin, begin + count, std::as_writable_bytes(std::span(counts)));
    }
    std::copy(ids.begin(), ids.end(), row.tokens + at);
    for (std::int64_t i = 1; i < count; ++i) {
      const auto index = static_cast<std::size_t>(i);
      row.targets[at + i - 1] = counts[index] != 0 ? static_cast<std::int64_t>(ids[index]) : kNotCounted;
    }
    for (std::int64_t i = 0; row.document_begin != nullptr && i < count; ++i) {
      row.document_begin[at + i] = at;
    }
  }

  void read_sample(std::int64_t sample, const Row& row) const {
    if (!plan) {
      read(sample * length, length + 1, 0, row);
      return;
    }
    std::int64_t at = 0;
    for (const PackedDocument& document : plan->rows[static_cast<std::size_t>(sample)]) {
      read(document.begin, document.length, at, row);
      at += document.length;
    }
    for (; at < length; ++at) {  // what is left of the row sees itself alone
      row.document_begin[at] = at;
    }
  }

  static constexpr std::int64_t kNotCounted = -100;

  std::string where;
  std::int64_t length;
  storage::Hdf5Reader file;
  storage::Hdf5Array tokens{};
  const storage::Hdf5Array* mask = nullptr;
  std::int64_t documents = 0;
  std::int64_t block_count = 0;
  std::optional<PackingPlan> plan{};  // under documents
  bool drops_long = false;
  std::int64_t packed_tokens = 0;
  std::vector<std::int64_t> target_counts{};  // of every sample; empty: all of them
  std::string tokens_sum{};
  std::string offsets_sum{};
  std::string mask_sum{};
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
  state.find_mask();
  const bool whole = use.packing == Packing::kDocuments || (use.packing == Packing::kAuto && state.mask != nullptr);
  if (whole) {
    state.pack(use.too_long);
  } else {
    state.cut_into_blocks();
  }
  const std::string sums = state.tokens_sum + state.offsets_sum + state.mask_sum;
  state.fingerprint = storage::xxh3_128(std::as_bytes(std::span(sums)));
}

TokenDataset::~TokenDataset() = default;
TokenDataset::TokenDataset(TokenDataset&&) noexcept = default;
TokenDataset& TokenDataset::operator=(TokenDataset&&) noexcept = default;

std::int64_t TokenDataset::samples() const {
  return state_->plan ? std::ssize(state_->plan->rows) : state_->block_count;
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

std::int64_t TokenDataset::targets(std::int64_t sample) const {
  return state_->target_counts.empty() ? state_->length : state_->target_counts.at(static_cast<std::size_t>(sample));
}

std::string TokenDataset::summary() const {
  const State& state = *state_;
  if (!state.plan) {
    return fmt::format("{} samples of {} tokens ({} documents)", samples(), state.length, state.documents);
  }
  std::string text =
      fmt::format("{} rows of {} tokens ({} documents, {:.1f}% full)", samples(), state.length, state.documents,
                  100.0 * static_cast<double>(state.packed_tokens) / static_cast<double>(samples() * state.length));
  if (state.plan->too_long > 0) {
    text += fmt::format(", {} documents too long and {}", state.plan->too_long, state.drops_long ? "left out" : "cut");
  }
  if (state.plan->without_targets > 0) {
    text += fmt::format(", {} documents without a counted token left out", state.plan->without_targets);
  }
  return text;
}

TokenBatch TokenDataset::batch(std::span<const std::int64_t> samples) const {
  const auto count = static_cast<std::int64_t>(samples.size());
  const std::int64_t length = state_->length;
  const at::Tensor tokens = at::zeros({count, length + 1}, at::kLong);
  const at::Tensor targets = at::full({count, length}, State::kNotCounted, at::kLong);
  const at::Tensor document_begin = state_->plan ? at::zeros({count, length}, at::kLong) : at::Tensor();
  for (std::int64_t row = 0; row < count; ++row) {
    const std::int64_t sample = samples[static_cast<std::size_t>(row)];
    invariant(sample >= 0 && sample < this->samples(), "sample {} of {} was asked for", sample, this->samples());
    state_->read_sample(sample,
                        {tokens.mutable_data_ptr<std::int64_t>() + row * (length + 1),
                         targets.mutable_data_ptr<std::int64_t>() + row * length,
                         state_->plan ? document_begin.mutable_data_ptr<std::int64_t>() + row * length : nullptr});
  }
  return {tokens, targets, document_begin};
}

}  // namespace dormer::data
