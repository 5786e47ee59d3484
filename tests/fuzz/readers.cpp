#include <algorithm>
#include <exception>
#include <fstream>
#include <numeric>
#include <string_view>

#include <ATen/core/Tensor.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/adapter_inspection.hpp"
#include "dormer/cache/imported_states.hpp"
#include "dormer/config/write.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/json_extent.hpp"
#include "dormer/data/clip_tokenizer.hpp"
#include "dormer/data/color_profile.hpp"
#include "dormer/data/image.hpp"
#include "dormer/data/prompt_lines.hpp"
#include "dormer/data/token_dataset.hpp"
#include "dormer/data/token_set_facts.hpp"
#include "dormer/data/tokenizer_identity.hpp"
#include "dormer/migration/import.hpp"
#include "dormer/model/language_model.hpp"
#include "dormer/model/model_folder.hpp"
#include "dormer/storage/checkpoint.hpp"
#include "dormer/storage/checksum.hpp"
#include "dormer/storage/hdf5.hpp"
#include "dormer/storage/safetensors.hpp"
#include "dormer/sweep/sampler.hpp"
#include "dormer/sweep/sweep_config.hpp"
#include "dormer/train/checkpoint_facts.hpp"
#include "dormer/train/run_config.hpp"
#include "fuzz/reader.hpp"

namespace dormer::fuzz {
namespace {

namespace fs = std::filesystem;

void demand(bool condition, const std::string& what) {
  if (!condition) {
    throw Unsound(what);
  }
}

const std::string& only(const Files& files) {
  return files.begin()->second;
}

/// Every view lies inside of the file, and together they are all of it.
void read_safetensors(const fs::path&, const Files& files) {
  const std::vector<char> exact(only(files).begin(), only(files).end());  // no byte to spare: a sanitizer sees overruns
  const storage::SafetensorsHeader header = storage::parse_safetensors(std::as_bytes(std::span(exact)), "fuzz");
  std::uint64_t total = header.data_begin;
  for (const storage::TensorEntry& entry : header.tensors) {
    demand(entry.begin <= entry.end && header.data_begin + entry.end <= exact.size(), "a view outside of the file");
    total += entry.end - entry.begin;
  }
  demand(total == exact.size(), "views that are not the file");
}

/// What every program makes of HDF5 files: all arrays, read whole.
void read_arrays(const fs::path& path) {
  const storage::Hdf5Reader file = storage::Hdf5Reader::open_foreign(path, "file");
  for (const storage::Hdf5Array& array : file.arrays()) {
    std::vector<std::byte> values(static_cast<std::size_t>(array.count()) * size_of(array.dtype));
    file.read(array, values);
  }
}

void read_token_set(const fs::path& folder, const Files& files) {
  const fs::path path = folder / files.begin()->first;
  read_arrays(path);
  constexpr std::int64_t kVocabulary = 1'000;
  if (data::is_token_set(path)) {
    const data::TokenSetFacts facts = data::token_set_facts(path);
    demand(facts.shortest <= facts.median && facts.median <= facts.longest, "document lengths out of order");
  }
  for (const data::Packing packing : {data::Packing::kBlocks, data::Packing::kDocuments}) {
    const data::TokenDataset set(
        path,
        {.sequence_length = 8, .model_vocabulary = kVocabulary, .tokenizer_sha256 = std::nullopt, .packing = packing});
    std::vector<std::int64_t> samples(static_cast<std::size_t>(std::min<std::int64_t>(set.samples(), 64)));
    std::iota(samples.begin(), samples.end(), set.samples() - std::ssize(samples));
    const data::TokenBatch batch = set.batch(samples);
    demand(batch.tokens().min().item<std::int64_t>() >= 0 && batch.tokens().max().item<std::int64_t>() < kVocabulary,
           "a token outside of the vocabulary");
  }
}

/// Every text has states of the told size, or they are refused.
void read_text_states(const fs::path& folder, const Files& files) {
  const fs::path path = folder / files.begin()->first;
  read_arrays(path);
  const cache::ImportedStates states(path);
  demand(states.tokens() > 0 && states.width() > 0, "states without numbers");
  const at::Tensor values = states.read("a small cat");
  demand(values.size(0) == states.tokens() && values.size(1) == states.width(), "states of another size");
}

void read_manifest(const fs::path&, const Files& files) {
  const storage::Manifest manifest = storage::parse_manifest(only(files), "fuzz");
  const std::string text = storage::to_text(manifest);
  demand(storage::to_text(storage::parse_manifest(text, "again")) == text, "a manifest that does not read back");
}

void read_checkpoint(const fs::path& folder, const Files& files) {
  const storage::Checkpoint checkpoint = storage::load_checkpoint(folder);
  std::size_t bytes = 0;
  for (const storage::StoredArray& array : checkpoint.arrays) {
    bytes += array.bytes.size();
  }
  std::size_t held = 0;
  for (const auto& [name, text] : files) {
    held += text.size();
  }
  demand(bytes <= held, "more bytes of arrays than the files hold");
  static_cast<void>(train::checkpoint_facts(folder));
}

void sign_manifest(Files& files) {
  for (auto& [name, text] : files) {
    if (!name.ends_with("manifest.json") || extent_of_json(text).depth > kDeepestJson) {
      continue;
    }
    nlohmann::json root = nlohmann::json::parse(text, nullptr, false);
    if (root.is_object()) {
      root.erase("manifest_xxh3_128");
      const std::string plain = root.dump();
      root["manifest_xxh3_128"] = storage::xxh3_128(std::as_bytes(std::span(plain)));
      text = root.dump(1);
    }
  }
}

void read_configuration(const fs::path& folder, const Files& files) {
  try {
    const std::string dumped = config::dump(train::load_run_config(folder / files.begin()->first));
    std::ofstream(folder / "again.yaml") << dumped;
    demand(config::dump(train::load_run_config(folder / "again.yaml")) == dumped,
           "a configuration that does not read back as it was written");
  } catch (const Error& error) {
    demand(error.fault() == Fault::kUsage, fmt::format("a configuration is no bad usage, but: {}", error.what()));
    throw;
  }
}

/// The file, and a few points of every sampler: they lie in the space, and are runs or bad usage.
void read_sweep(const fs::path& folder, const Files& files) {
  try {
    const sweep::SweepConfig config = sweep::load_sweep_config(folder / files.begin()->first);
    const Registry<sweep::SamplerKind> samplers = sweep::sampler_registry();
    for (const auto& [name, make] : samplers.entries()) {
      if (name == "grid" && !config.space.grid_points()) {
        continue;
      }
      const auto sampler = make({.space = config.space, .seed = RandomKey{1}});
      for (std::int64_t number = 0; number < std::min<std::int64_t>(sampler->points().value_or(3), 3); ++number) {
        const sweep::Point point = sampler->propose(number, {});
        demand(config.space.holds(point), fmt::format("{} of {} is no point of the space", text_of(point), name));
        static_cast<void>(sweep::trial_config(config, point, 0));
      }
    }
  } catch (const Error& error) {
    demand(error.fault() == Fault::kUsage, fmt::format("a sweep is no bad usage, but: {}", error.what()));
    throw;
  }
}

/// As a file of every program: a configuration that loads, or one whose mistakes are told.
void read_foreign_configuration(const fs::path& folder, const Files& files) {
  std::exception_ptr refused;
  const Registry<migration::Program> programs = migration::program_registry();
  for (const auto& [name, program] : programs.entries()) {
    try {
      const migration::Import import = migration::import_config(name, folder / files.begin()->first);
      if (import.mistakes.empty()) {
        std::ofstream(folder / "ours.yaml") << import.yaml;
        static_cast<void>(train::load_run_config(folder / "ours.yaml"));
      }
    } catch (const Error& error) {
      const std::string_view text = error.what();
      demand(error.fault() == Fault::kInput &&
                 (text.find("makes no configuration") == std::string_view::npos ||
                  text.find("more than") != std::string_view::npos || text.find("at most") != std::string_view::npos),
             fmt::format("{}: no bad input, but: {}", name, text));
      refused = std::current_exception();
    }
  }
  if (refused) {
    std::rethrow_exception(refused);
  }
}

void read_model(const fs::path& folder, const Files&) {
  const auto model = model::load_language_model(folder, DType::kF32);
  demand(!model->layers().empty(), "a model without layers");
  static_cast<void>(model::hub_id_of(folder));
}

void read_tokenizer(const fs::path& folder, const Files&) {
  demand(data::folder_tokenizer_sha256(folder).has_value() && data::folder_tokenizer_size(folder).value_or(-1) >= 0,
         "a tokenizer that is there is not seen");
}

/// Ids that an embedding of the told size has, and no more of them than bytes.
void read_clip_tokenizer(const fs::path& folder, const Files&) {
  const data::ClipTokenizer tokenizer = data::ClipTokenizer::open(folder);
  for (const std::string text : {"A photo of caf\u00E9's 42 cats!!<|endoftext|> <toy>", "\u732B\u0301 \u0130"}) {
    const std::vector<std::int64_t> ids = tokenizer.encode(text);
    demand(ids == tokenizer.encode(text), "ids that the second reading does not have");
    demand(ids.size() <= text.size() + 1, "more ids than bytes");  // the dotted capital is a byte longer when small
    demand(std::ranges::all_of(ids, [&](std::int64_t id) { return id >= 0 && id < tokenizer.size(); }),
           "an id beyond the size");
  }
}

void read_prompts(const fs::path&, const Files& files) {
  std::size_t bytes = 0;
  for (const data::PromptLine& prompt : data::parse_prompt_lines(only(files), "fuzz")) {
    bytes += prompt.prompt.size() + prompt.negative.size() + 1;
    demand(prompt.width.value_or(64) % 8 == 0 && prompt.height.value_or(64) % 8 == 0, "sizes that no image has");
    demand(prompt.steps.value_or(1) > 0 && prompt.guidance.value_or(0) >= 0, "settings out of their range");
  }
  demand(bytes <= only(files).size() + 1, "more text than the file holds");
}

/// As `dormer inspect` and `dormer export ADAPTER` read it, of whatever form it looks like.
void read_adapter(const fs::path& folder, const Files& files) {
  const auto weights =
      std::ranges::find_if(files, [](const auto& file) { return file.first.ends_with(".safetensors"); });
  const bool peft = files.contains("adapter_model.safetensors");
  const fs::path path = peft ? folder : folder / weights->first;
  const std::string form = cli::adapter_form(path);
  require(!form.empty(), Fault::kInput, "no adapter");
  const cli::AdapterReport report = cli::report_adapter(path, form);
  static_cast<void>(cli::describe(report));
  static_cast<void>(cli::to_json(report));
  std::size_t values = 0;
  for (const auto& [name, layer] : report.adapter.layers) {
    for (const auto& [factor, array] : layer.factors) {
      values += array.values.size();
    }
  }
  std::size_t held = 0;
  for (const auto& [name, text] : files) {
    held += text.size();
  }
  demand(values <= 2 * held, "more numbers than the file can hold");
}

#ifdef DORMER_READS_IMAGES
/// The header, and the pixels where it promises few.
void read_image(const fs::path& folder, const Files& files) {
  static_cast<void>(data::is_srgb_profile(std::as_bytes(std::span(only(files)))));
  const fs::path path = folder / files.begin()->first;
  const data::ImageSize size = data::image_size(path);
  demand(size.width >= data::kShortestSide && size.width <= data::kMostPixels / size.height,
         "a size beyond the limits");
  if (size.width * size.height <= 1 << 16) {
    const at::Tensor image = data::load_image(path, data::plan_crop(size, {16, 16}));
    demand(image.abs().max().item<float>() <= 1.0F, "values beyond [-1, 1]");
  }
}
#endif

}  // namespace

std::vector<Reader> readers() {
  return {
#ifdef DORMER_READS_IMAGES
      {"images", true, read_image, {"images"}},
#endif
      {"safetensors", false, read_safetensors, {"json", "safetensors"}},
      {"token_sets", true, read_token_set, {"token_sets"}},
      {"text_states", true, read_text_states, {"token_sets", "text_states"}},
      {"manifests", false, read_manifest, {"json", "manifests"}, sign_manifest},
      {"checkpoints", true, read_checkpoint, {"json", "manifests"}, sign_manifest},
      {"configurations", true, read_configuration, {"configurations"}},
      {"sweeps", true, read_sweep, {"configurations", "sweeps"}},
      {"foreign_configurations", true, read_foreign_configuration, {"json", "foreign_configurations"}},
      {"models", true, read_model, {"json", "models"}},
      {"tokenizers", true, read_tokenizer, {"json", "tokenizers"}},
      {"clip_tokenizers", true, read_clip_tokenizer, {"json", "tokenizers", "clip_tokenizers"}},
      {"prompts", false, read_prompts, {"prompts"}},
      {"adapters", true, read_adapter, {"json", "adapters"}},
  };
}

}  // namespace dormer::fuzz
