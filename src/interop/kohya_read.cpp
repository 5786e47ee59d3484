#include "kohya_read.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "dormer/core/error.hpp"
#include "dormer/core/json_extent.hpp"
#include "dormer/storage/safetensors.hpp"
#include "kohya_keys.hpp"
#include "layer_arrays.hpp"
#include "layer_names.hpp"
#include "stored_values.hpp"

namespace dormer::interop {
namespace {

namespace fs = std::filesystem;
using Entries =
    std::map<std::string, const storage::TensorEntry*>;  // by canonical factor, "alpha" and "dora_scale" too

/// One layer's arrays before it is known what its name means.
struct Gathered {
  Entries entries;
  KohyaStem stem;
  std::string path;                       ///< dotted
  std::optional<std::string> denoiser{};  ///< its component; nothing: of a text encoder or a language model
};

std::optional<KohyaStem> parse(std::string_view stem, KohyaSpelling spelling) {
  return spelling == KohyaSpelling::kFlat ? parse_flat_stem(stem) : parse_dotted_stem(stem);
}

std::optional<std::string> dotted_path(const KohyaStem& stem, KohyaSpelling spelling) {
  const std::string flat = spelling == KohyaSpelling::kFlat ? stem.path : flat_name(stem.path);
  std::optional<std::string> path = dotted_name(flat);
  const bool same = spelling == KohyaSpelling::kFlat || path == stem.path;
  return same ? path : std::nullopt;
}

/// Nothing where the layer is of no known model.
std::optional<Gathered> begin_layer(const std::string& stem, KohyaSpelling spelling) {
  std::optional<KohyaStem> parsed = parse(stem, spelling);
  std::optional<std::string> path = parsed ? dotted_path(*parsed, spelling) : std::nullopt;
  if (!path) {
    return std::nullopt;
  }
  const bool text = parsed->part == KohyaPart::kFirstText || parsed->part == KohyaPart::kSecondText ||
                    parsed->part == KohyaPart::kThirdText;
  std::optional<std::string> denoiser = text ? std::nullopt : denoiser_component(*path);
  if (parsed->part == KohyaPart::kDenoiser && !denoiser) {
    return std::nullopt;
  }
  return Gathered{.entries = {}, .stem = *std::move(parsed), .path = *std::move(path), .denoiser = std::move(denoiser)};
}

class Reader {
 public:
  Reader(const storage::SafetensorsFile& file, const ReadOptions& options, KohyaSpelling spelling)
      : file_(file), options_(options), spelling_(spelling), where_(file.path().string()) {}

  StoredAdapter read() {
    adapter_.metadata = file_.metadata();
    gather();
    flag_ = axis_of_metadata(file_.metadata());
    for (const auto& [stem, layer] : gathered_) {
      add_factors(stem, layer);
    }
    add_magnitudes();
    for (auto& [name, layer] : adapter_.layers) {
      finish_layer(layer, name);
    }
    warn_of_missing_alphas(adapter_);
    adapter_.naming = naming_of(adapter_);
    adapter_.family = family_of(adapter_);
    adapter_.base = base_of(file_.metadata());
    return std::move(adapter_);
  }

 private:
  void gather();
  void leave_out_foreign(const std::vector<std::string>& foreign);
  void add_factors(const std::string& stem, const Gathered& gathered);
  void add_magnitudes();
  [[nodiscard]] std::string component_of(const Gathered& gathered) const;
  [[nodiscard]] bool is_flux() const;
  static std::optional<std::string> base_of(const storage::Metadata& metadata);

  const storage::SafetensorsFile& file_;
  const ReadOptions& options_;
  KohyaSpelling spelling_;
  std::string where_;
  std::map<std::string, Gathered> gathered_;  ///< by stem
  std::optional<adapter::Axis> flag_;
  std::map<std::string, const storage::TensorEntry*> magnitudes_;  ///< by layer name
  StoredAdapter adapter_;
};

void Reader::gather() {
  std::vector<std::string> unknown;
  std::vector<std::string> foreign;
  for (const storage::TensorEntry& entry : file_.tensors()) {
    const std::optional<KohyaKey> key = parse_kohya_key(entry.name);
    const bool peft = is_foreign_tensor(entry.name) && (spelling_ == KohyaSpelling::kFlat || !key);
    if (peft) {
      foreign.push_back(entry.name);
      continue;
    }
    if (key && !gathered_.contains(key->stem)) {
      if (std::optional<Gathered> fresh = begin_layer(key->stem, spelling_)) {
        gathered_.emplace(key->stem, *std::move(fresh));
      }
    }
    if (!key || !gathered_.contains(key->stem)) {
      unknown.push_back(entry.name);
      continue;
    }
    const bool first = gathered_.at(key->stem).entries.emplace(key->factor, &entry).second;
    require(first, Fault::kInput, "{} of '{}' stands twice in {}, under two spellings", key->factor, key->stem, where_);
  }
  leave_out_foreign(foreign);
  require(unknown.empty() || options_.allow_partial, Fault::kInput,
          "{} has {} arrays that are not understood: {}; --allow-partial reads it without them", where_, unknown.size(),
          first_names(unknown));
  adapter_.left_out.insert(adapter_.left_out.end(), unknown.begin(), unknown.end());
  require(!gathered_.empty(), Fault::kInput, "{} holds no layer of this form", where_);
}

void Reader::leave_out_foreign(const std::vector<std::string>& foreign) {
  if (foreign.empty()) {
    return;
  }
  const bool magnitudes =
      std::ranges::any_of(foreign, [](const std::string& name) { return is_foreign_magnitude(name); });
  const std::string_view effect =
      magnitudes ? "so that they apply it as another, plain adapter" : "so that nothing of them is applied";
  require(options_.allow_partial, Fault::kInput,
          "{} has {} arrays under PEFT's names ({}), which the programs that read this form pass over, {}; convert the "
          "adapter again from where it was trained, or read it without them by --allow-partial",
          where_, foreign.size(), first_names(foreign), effect);
  adapter_.left_out.insert(adapter_.left_out.end(), foreign.begin(), foreign.end());
  adapter_.warnings.push_back(
      fmt::format("{} arrays under PEFT's names were left out ({}), {}", foreign.size(), first_names(foreign), effect));
}

bool Reader::is_flux() const {
  const auto version = file_.metadata().find("ss_base_model_version");
  const bool said = version != file_.metadata().end() &&
                    (version->second.starts_with("flux") || version->second.starts_with("chroma"));
  return said || std::ranges::any_of(gathered_, [](const auto& entry) {
           const Gathered& layer = entry.second;
           return layer.denoiser &&
                  (layer.path.starts_with("double_blocks.") || layer.path.starts_with("single_blocks.") ||
                   layer.path.starts_with("single_transformer_blocks."));
         });
}

std::string Reader::component_of(const Gathered& gathered) const {
  if (gathered.denoiser) {
    return *gathered.denoiser + ".";
  }
  switch (gathered.stem.part) {
    case KohyaPart::kFirstText:
      return "text_encoder.";
    case KohyaPart::kSecondText:
      return "text_encoder_2.";
    case KohyaPart::kThirdText:
      return is_flux() ? "text_encoder_2." : "text_encoder_3.";
    default:
      return gathered.path.starts_with("text_model.") ? "text_encoder." : "";
  }
}

void Reader::add_factors(const std::string& stem, const Gathered& gathered) {
  const std::string name = component_of(gathered) + gathered.path;
  require(!adapter_.layers.contains(name), Fault::kInput, "{} holds '{}' under two names, '{}' is one of them", where_,
          name, stem);
  StoredLayer& layer = adapter_.layers[name];
  for (const auto& [factor, entry] : gathered.entries) {
    if (factor == "alpha") {
      layer.alpha = read_number(file_, *entry);
    } else if (factor == "dora_scale") {
      magnitudes_.emplace(name, entry);
    } else {
      layer.dtype = entry->dtype;
      put_factor(layer, name, factor, read_array(file_, *entry));
    }
  }
}

void Reader::add_magnitudes() {
  std::map<adapter::Axis, std::string> seen;  // with a layer that has it
  for (const auto& [name, entry] : magnitudes_) {
    if (const std::optional<adapter::Axis> axis = axis_of_shape(entry->shape)) {
      seen.emplace(*axis, name);
    }
  }
  if (seen.size() > 1) {
    fail(Fault::kInput,
         "{} has dora_scale of two axes: '{}' by output, '{}' by input; no program reads such a file right, so convert "
         "it "
         "again from where it was trained",
         where_, seen.at(adapter::Axis::kOutput), seen.at(adapter::Axis::kInput));
  }
  for (const auto& [name, entry] : magnitudes_) {
    // [1, 1] tells nothing by itself, but a file has one axis. One dimension is nobody's shape, so others tell nothing.
    const bool from_others = !flag_ && entry->shape.size() >= 2 && seen.size() == 1;
    set_dora_scale(adapter_.layers.at(name), name, read_array(file_, *entry),
                   from_others ? std::optional(seen.begin()->first) : flag_);
  }
}

/// kohya writes a hub's name where the base came from there, else a file's.
std::optional<std::string> Reader::base_of(const storage::Metadata& metadata) {
  const auto found = metadata.find("ss_sd_model_name");
  if (found == metadata.end()) {
    return std::nullopt;
  }
  const std::string& name = found->second;
  const bool of_hub = std::ranges::count(name, '/') == 1 && !name.starts_with('/') && !name.ends_with('/') &&
                      !name.starts_with('.') && !name.ends_with(".safetensors") && !name.ends_with(".ckpt");
  return of_hub ? std::optional(name) : std::nullopt;
}

}  // namespace

std::optional<adapter::Axis> axis_of_metadata(const storage::Metadata& metadata) {
  const auto found = metadata.find("ss_network_args");
  if (found == metadata.end()) {
    return std::nullopt;
  }
  if (extent_of_json(found->second).depth > kDeepestJson) {
    return std::nullopt;
  }
  const nlohmann::json arguments = nlohmann::json::parse(found->second, nullptr, false);
  for (const char* key : {"wd_on_output", "wd_on_out"}) {
    if (!arguments.is_object() || !arguments.contains(key)) {
      continue;
    }
    const nlohmann::json& value = arguments.at(key);
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    if (text == "True" || text == "true" || text == "1") {
      return adapter::Axis::kOutput;
    }
    if (text == "False" || text == "false" || text == "0") {
      return adapter::Axis::kInput;
    }
  }
  return std::nullopt;
}

bool recognizes_kohya(const fs::path& source, KohyaSpelling spelling) {
  return any_array(source, [&](const std::string& name) {
    const std::optional<KohyaKey> key = parse_kohya_key(name);
    if (key && parse(key->stem, spelling)) {
      return true;
    }
    // Names that a converter left half done are of this form too, and its reader says what is wrong with them.
    return spelling == KohyaSpelling::kFlat && is_foreign_tensor(name) &&
           parse_flat_stem(name.substr(0, name.find('.')));
  });
}

StoredAdapter read_kohya(const fs::path& source, const ReadOptions& options, KohyaSpelling spelling) {
  const auto file = storage::SafetensorsFile::open(source);
  return Reader(*file, options, spelling).read();
}

}  // namespace dormer::interop
