#include "dormer/interop/checkpoint_folder.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

#include "checkpoint/layout.hpp"
#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/storage/array_views.hpp"
#include "dormer/storage/checksum.hpp"
#include "dormer/storage/safetensors.hpp"

namespace dormer::interop {
namespace {

namespace fs = std::filesystem;

constexpr const char* kVersion = "2";  // of what is written below

void write_json(const fs::path& file, const Settings& value) {
  write_file_atomically(file, std::string_view(value.dump(2) + "\n"));
}

/// CLIP's vocabulary, with the settings that the released models have; OpenCLIP fills up with another token.
void write_tokenizer(const fs::path& folder, const fs::path& vocabulary, bool open_clip) {
  fs::create_directories(folder);
  const bool plain = fs::exists(vocabulary / "vocab.json");
  for (const char* name : plain ? std::vector{"vocab.json", "merges.txt"} : std::vector{"tokenizer.json"}) {
    write_file_atomically(folder / name, std::string_view(read_file(vocabulary / name, "CLIP's vocabulary")));
  }
  write_json(folder / "tokenizer_config.json", {{"tokenizer_class", "CLIPTokenizer"},
                                                {"bos_token", "<|startoftext|>"},
                                                {"eos_token", "<|endoftext|>"},
                                                {"unk_token", "<|endoftext|>"},
                                                {"pad_token", open_clip ? "!" : "<|endoftext|>"},
                                                {"model_max_length", 77}});
}

struct Rearranged {
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;
};

Rearranged transposed(const storage::TensorEntry& entry, std::span<const std::byte> from) {
  require(entry.shape.size() == 2, Fault::kInput, "its array {} is no matrix; download it again", entry.name);
  const auto rows = static_cast<std::size_t>(entry.shape[0]);
  const auto columns = static_cast<std::size_t>(entry.shape[1]);
  const std::size_t size = size_of(entry.dtype);
  Rearranged turned{.shape = {entry.shape[1], entry.shape[0]}, .bytes = std::vector<std::byte>(from.size())};
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t column = 0; column < columns; ++column) {
      std::memcpy(&turned.bytes[(column * rows + row) * size], &from[(row * columns + column) * size], size);
    }
  }
  return turned;
}

Rearranged with_halves_swapped(const storage::TensorEntry& entry, std::span<const std::byte> from) {
  require(!entry.shape.empty() && entry.shape[0] % 2 == 0, Fault::kInput,
          "its array {} has no two halves; download it again", entry.name);
  Rearranged swapped{.shape = entry.shape, .bytes = std::vector<std::byte>(from.begin(), from.end())};
  std::ranges::rotate(swapped.bytes, swapped.bytes.begin() + static_cast<std::ptrdiff_t>(from.size() / 2));
  return swapped;
}

/// In the table's dtype, whose one is that of its exponent: a number of bytes from the lowest on.
Rearranged identity_beside(const storage::TensorEntry& table) {
  require(table.shape.size() == 2, Fault::kInput, "its array {} is no table; download it again", table.name);
  const std::int64_t width = table.shape[1];
  const auto one = [&]() -> std::vector<std::uint8_t> {
    switch (table.dtype) {
      case DType::kF32:
        return {0x00, 0x00, 0x80, 0x3F};
      case DType::kBF16:
        return {0x80, 0x3F};
      case DType::kF16:
        return {0x00, 0x3C};
      default:
        fail(Fault::kInput, "its array {} is of {}; float32, float16 and bfloat16 are read", table.name,
             name_of(table.dtype));
    }
  }();
  Rearranged identity{.shape = {width, width},
                      .bytes = std::vector<std::byte>(static_cast<std::size_t>(width * width) * one.size())};
  for (std::int64_t row = 0; row < width; ++row) {
    std::memcpy(&identity.bytes[static_cast<std::size_t>(row * (width + 1)) * one.size()], one.data(), one.size());
  }
  return identity;
}

Rearranged rearranged(const RearrangedArray& one, const storage::SafetensorsFile& file) {
  const storage::TensorEntry* entry = file.find(one.array);
  require(entry != nullptr, Fault::kInput, "its array {} is missing; download it again", one.array);
  switch (one.how) {
    case Rearrangement::kTransposed:
      return transposed(*entry, file.bytes(*entry));
    case Rearrangement::kHalvesSwapped:
      return with_halves_swapped(*entry, file.bytes(*entry));
    case Rearrangement::kIdentity:
      return identity_beside(*entry);
  }
  return {};
}

/// Arrays that no view can show, as a small file of their own.
void write_rearranged(const fs::path& folder, const storage::SafetensorsFile& file, PartLayout& part) {
  constexpr const char* kFile = "rearranged.safetensors";
  std::vector<Rearranged> results;
  std::vector<storage::NamedArray> arrays;
  results.reserve(part.rearranged.size());
  for (const RearrangedArray& one : part.rearranged) {
    const Rearranged& result = results.emplace_back(rearranged(one, file));
    arrays.push_back(
        {.name = one.name, .dtype = file.find(one.array)->dtype, .shape = result.shape, .bytes = result.bytes});
    part.arrays.push_back({.name = one.name, .file = kFile, .array = one.name, .shape = result.shape});
  }
  storage::write_safetensors(folder / kFile, arrays, {});
}

void write_part(const fs::path& root, const fs::path& checkpoint, const storage::SafetensorsFile& file,
                PartLayout part) {
  const fs::path folder = root / part.folder;
  fs::create_directories(folder);
  write_json(folder / "config.json", part.config);
  for (storage::ArrayView& view : part.arrays) {
    view.file = checkpoint.string();
  }
  if (!part.rearranged.empty()) {
    write_rearranged(folder, file, part);
  }
  storage::write_views(folder / (part.stem + ".view.json"), part.arrays);
}

ArrayShapes shapes_of(const storage::SafetensorsFile& file) {
  ArrayShapes shapes;
  for (const storage::TensorEntry& entry : file.tensors()) {
    shapes.add(entry.name, entry.shape);
  }
  return shapes;
}

/// Everything that decides what the folder holds; another file of the same name has another time or size.
std::string identity_of(const CheckpointFile& checkpoint, const fs::path& file) {
  const std::string text = fmt::format("{}\n{}\n{}\n{}\n{}\n{}", kVersion, file.string(), fs::file_size(file),
                                       fs::last_write_time(file).time_since_epoch().count(),
                                       fs::weakly_canonical(checkpoint.tokenizer).string(), checkpoint.prediction);
  return storage::xxh3_128(std::as_bytes(std::span(text))).substr(0, 16);
}

void require_tokenizer(const CheckpointFile& checkpoint) {
  require(!checkpoint.tokenizer.empty(), Fault::kUsage,
          "{} holds no vocabulary: name a folder with CLIP's vocab.json and merges.txt, as the tokenizer folder of any "
          "Stable Diffusion, in text.tokenizer (--tokenizer)",
          checkpoint.file.string());
  require(fs::exists(checkpoint.tokenizer / "vocab.json") || fs::exists(checkpoint.tokenizer / "tokenizer.json"),
          Fault::kInput, "the tokenizer {} has neither vocab.json nor tokenizer.json; name the folder that holds them",
          checkpoint.tokenizer.string());
}

CheckpointLayout layout_of(const CheckpointFile& checkpoint, const storage::SafetensorsFile& file) {
  try {
    CheckpointLayout layout = checkpoint_layout(shapes_of(file), file.metadata());
    if (!checkpoint.prediction.empty() && checkpoint.prediction != "auto") {
      layout.prediction = checkpoint.prediction;
    }
    return layout;
  } catch (const Error& error) {
    throw Error(error.fault(), fmt::format("the checkpoint {}: {}", checkpoint.file.string(), error.what()));
  }
}

Settings scheduler_of(const CheckpointLayout& layout) {
  if (layout.family == CheckpointFamily::kThird) {
    return {{"_class_name", "FlowMatchEulerDiscreteScheduler"}, {"num_train_timesteps", 1000}, {"shift", 3.0}};
  }
  return {{"_class_name", "DDIMScheduler"},
          {"beta_schedule", "scaled_linear"},
          {"beta_start", 0.00085},
          {"beta_end", 0.012},
          {"num_train_timesteps", 1000},
          {"clip_sample", false},
          {"set_alpha_to_one", false},
          {"steps_offset", 1},
          {"prediction_type", *layout.prediction},
          {"rescale_betas_zero_snr", layout.zero_terminal_snr},
          // Without signal at the last step, pictures must begin there (Lin et al. 2024).
          {"timestep_spacing", layout.zero_terminal_snr ? "trailing" : "leading"}};
}

void write_folder_of(const CheckpointFile& checkpoint, const fs::path& path, const storage::SafetensorsFile& file,
                     CheckpointLayout layout, const fs::path& root) {
  const bool open_clip_first = layout.family == CheckpointFamily::kSecond;
  write_tokenizer(root / "tokenizer", checkpoint.tokenizer, open_clip_first);
  if (layout.family == CheckpointFamily::kExtraLarge || layout.family == CheckpointFamily::kThird) {
    write_tokenizer(root / "tokenizer_2", checkpoint.tokenizer, true);
  }
  for (PartLayout& part : layout.parts) {
    write_part(root, path, file, std::move(part));
  }
  fs::create_directories(root / "scheduler");
  write_json(root / "scheduler" / "scheduler_config.json", scheduler_of(layout));
  write_json(root / "model_index.json", layout.index);
}

}  // namespace

fs::path default_checkpoint_place() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0') {
    return fs::path(cache) / "dormer";
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') {
    return fs::path(home) / ".cache" / "dormer";
  }
  return fs::temp_directory_path() / "dormer";
}

fs::path checkpoint_folder(const CheckpointFile& checkpoint, const fs::path& place) {
  require(checkpoint.file.extension() == ".safetensors", Fault::kInput,
          "{} is no .safetensors; pickled checkpoints run code when they are read, convert it first",
          checkpoint.file.string());
  const fs::path path = fs::canonical(checkpoint.file);
  require_tokenizer(checkpoint);
  const fs::path target = place / fmt::format("{}-{}", path.stem().string(), identity_of(checkpoint, path));
  std::error_code code;
  if (fs::exists(target, code)) {
    return target;
  }
  const auto file = storage::SafetensorsFile::open(path);
  CheckpointLayout layout = layout_of(checkpoint, *file);
  require(layout.prediction.has_value(), Fault::kUsage,
          "{} does not say what its denoiser predicts: write objective.prediction (--prediction): v_prediction for "
          "what comes from Stable Diffusion 2.x of 768 pixels, epsilon for the base of 512",
          checkpoint.file.string());
  const fs::path temporary = place / fmt::format("{}.tmp-{}", target.filename().string(), ::getpid());
  try {
    fs::create_directories(temporary);
    write_folder_of(checkpoint, path, *file, std::move(layout), temporary);
    commit_folder(temporary, target);
  } catch (...) {
    fs::remove_all(temporary, code);
    if (fs::exists(target, code)) {  // another process was quicker
      return target;
    }
    throw;
  }
  log::info("{} is read through {}", checkpoint.file.string(), target.string());
  return target;
}

}  // namespace dormer::interop
