#include "dormer/cache/imported_states.hpp"

#include <map>
#include <utility>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>

#include "dormer/core/error.hpp"
#include "dormer/storage/hdf5.hpp"

namespace dormer::cache {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStatesFormat = "dormer.text_states/1";
constexpr std::string_view kStatesFile = "a file of text states";
constexpr std::string_view kRemedy = "make it again with launch/import_embeddings.py";

at::ScalarType scalar_type(DType dtype) {
  return dtype == DType::kF16 ? at::kHalf : dtype == DType::kBF16 ? at::kBFloat16 : at::kFloat;
}

/// As much of a text as a line of an error has room for.
std::string shortened(const std::string& text) {
  constexpr std::size_t kMost = 80;
  std::size_t end = std::min(text.size(), kMost);
  while (end > 0 && end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) {
    --end;  // not within a character
  }
  return fmt::format("\"{}{}\"", text.substr(0, end), end < text.size() ? "…" : "");
}

}  // namespace

struct ImportedStates::State {
  std::string path;
  storage::Hdf5Reader file;
  std::string fingerprint;
  std::map<std::string, const storage::Hdf5Array*> texts;
  std::vector<std::int64_t> shape;

  explicit State(const fs::path& where)
      : path(where.string()), file(storage::Hdf5Reader::open_foreign(where, kStatesFile)) {
    const std::optional<std::string> format = file.string_attribute("format");
    require(format == kStatesFormat, Fault::kInput, "{} is no file of text states (format {}, not {}); {}", path,
            format.value_or("none"), kStatesFormat, kRemedy);
    const std::optional<std::string> told = file.string_attribute("sha256");
    require(told.has_value(), Fault::kInput, "{} has no attribute sha256 that tells it from others; {}", path, kRemedy);
    fingerprint = *told;
    for (const storage::Hdf5Array& array : file.arrays()) {
      learn(array);
    }
    require(!texts.empty(), Fault::kInput, "{} has states of no text; {}", path, kRemedy);
  }

  void learn(const storage::Hdf5Array& array) {
    const bool floats = array.dtype == DType::kF32 || array.dtype == DType::kF16 || array.dtype == DType::kBF16;
    require(floats && array.shape.size() == 2 && array.count() > 0, Fault::kInput,
            "{}: {} is no array of states [tokens, width] in float32, float16 or bfloat16; {}", path, array.name,
            kRemedy);
    if (shape.empty()) {
      shape = array.shape;
    }
    require(array.shape == shape, Fault::kInput, "{}: {} is {} x {}, others are {} x {}; {}", path, array.name,
            array.shape[0], array.shape[1], shape[0], shape[1], kRemedy);
    std::optional<std::string> text = file.string_attribute("text", array.name);
    require(text.has_value(), Fault::kInput, "{}: {} has no attribute text; {}", path, array.name, kRemedy);
    const auto [found, added] = texts.try_emplace(*std::move(text), &array);
    require(added, Fault::kInput, "{}: {} and {} are both the states of {}; {}", path, found->second->name, array.name,
            shortened(found->first), kRemedy);
  }
};

ImportedStates::ImportedStates(const fs::path& file) : state_(std::make_unique<State>(file)) {}
ImportedStates::~ImportedStates() = default;

std::int64_t ImportedStates::tokens() const {
  return state_->shape[0];
}
std::int64_t ImportedStates::width() const {
  return state_->shape[1];
}
const std::string& ImportedStates::fingerprint() const {
  return state_->fingerprint;
}

void ImportedStates::require_all(std::span<const std::string> texts) const {
  const auto missing = [this](const std::string& text) { return !state_->texts.contains(text); };
  const auto first = std::ranges::find_if(texts, missing);
  require(first == texts.end(), Fault::kInput,
          "{} has no states of {} of {} texts, {} the first of them; dormer cache CONFIG --list-texts FILE writes all "
          "that a run wants, launch/import_embeddings.py makes their states",
          state_->path, std::ranges::count_if(texts, missing), texts.size(),
          first == texts.end() ? "" : shortened(*first));
}

void ImportedStates::require_suited(const model::DenoiserFacts& denoiser) const {
  require(denoiser.empty_tokens > 0, Fault::kUsage,
          "{} holds states of a text encoder beside those of the model, for which {} has no place; leave it out",
          state_->path, denoiser.family);
  require(width() == denoiser.text_width, Fault::kInput,
          "{}: states are {} wide, the model's are {}; {} with the model's own encoder", state_->path, width(),
          denoiser.text_width, kRemedy);
}

at::Tensor ImportedStates::read(const std::string& text) const {
  require_all({&text, 1});
  const storage::Hdf5Array& array = *state_->texts.at(text);
  const at::Tensor values = at::empty(array.shape, scalar_type(array.dtype));
  state_->file.read(array, {static_cast<std::byte*>(values.mutable_data_ptr()), values.nbytes()});
  require(at::isfinite(values).all().item<bool>(), Fault::kInput, "{}: the states of {} are not all finite; {}",
          state_->path, shortened(text), kRemedy);
  return values.to(at::kFloat);
}

}  // namespace dormer::cache
