#include "kohya_metadata.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "dormer/core/sha256.hpp"

namespace dormer::interop {
namespace {

/// The value that most layers have.
template <typename Value>
class Commonest {
 public:
  void add(const Value& value) { ++counts_[value]; }
  [[nodiscard]] bool empty() const { return counts_.empty(); }
  [[nodiscard]] Value value() const {
    return std::ranges::max_element(counts_, {}, [](const auto& entry) { return entry.second; })->first;
  }

 private:
  std::map<Value, std::int64_t> counts_;
};

/// rsLoRA: its scale is alpha / sqrt(rank), which the file's alphas say already.
bool is_rank_stabilized(const StoredLayer& layer) {
  if (layer.rank < 2 || !layer.alpha) {
    return false;
  }
  const double wanted = *layer.alpha / std::sqrt(static_cast<double>(layer.rank));
  return std::abs(layer.scale - wanted) <= 1e-6 * std::abs(wanted);
}

struct Facts {
  std::string algorithm;
  std::pair<std::int64_t, double> size{1, 1.0};         ///< rank and alpha of most layers
  std::pair<std::int64_t, double> kernel_size{0, 0.0};  ///< of most convolutions with a kernel; 0: there are none
  bool lycoris = false;                                 ///< kohya's own network has no such tensors
  bool rank_stabilized = false;
  bool tucker = false;
  std::optional<adapter::Axis> axis;
};

bool has_kernel(const StoredLayer& layer) {
  const auto a = layer.factors.find("lora_A");
  return layer.kernel_axes > 0 &&
         (a == layer.factors.end() || layer.factors.contains("lora_mid") ||
          std::ranges::any_of(a->second.shape.begin() + 2, a->second.shape.end(), [](auto taps) { return taps > 1; }));
}

Facts facts_of(const StoredAdapter& adapter) {
  Facts facts;
  Commonest<std::string> kinds;
  Commonest<std::pair<std::int64_t, double>> sizes;
  Commonest<std::pair<std::int64_t, double>> kernel_sizes;
  for (const auto& [name, layer] : adapter.layers) {
    const bool low_rank = layer.kind == "lora" || layer.kind == "locon";
    const bool tucker =
        layer.factors.contains("lora_mid") || layer.factors.contains("hada_t1") || layer.factors.contains("lokr_t2");
    kinds.add(low_rank ? "locon" : layer.kind == "diff" ? "full" : layer.kind);
    facts.tucker = facts.tucker || tucker;
    facts.lycoris = facts.lycoris || !low_rank || tucker || layer.axis;
    facts.rank_stabilized = facts.rank_stabilized || is_rank_stabilized(layer);
    facts.axis = layer.axis ? layer.axis : facts.axis;
    if (layer.rank > 0) {
      (has_kernel(layer) ? kernel_sizes : sizes).add({layer.rank, plain_alpha(layer)});
    }
  }
  facts.algorithm = kinds.value();
  facts.kernel_size = kernel_sizes.empty() ? facts.kernel_size : kernel_sizes.value();
  facts.size = !sizes.empty() ? sizes.value() : kernel_sizes.empty() ? facts.size : kernel_sizes.value();
  return facts;
}

std::string text_of(bool value) {
  return value ? "True" : "False";
}

std::string arguments_of(const Facts& facts) {
  nlohmann::json arguments{{"algo", facts.algorithm}};
  if (facts.kernel_size.first > 0) {
    arguments["conv_dim"] = fmt::format("{}", facts.kernel_size.first);
    arguments["conv_alpha"] = fmt::format("{}", facts.kernel_size.second);
  }
  if (facts.tucker) {
    arguments["use_tucker"] = text_of(true);
  }
  if (facts.axis) {
    arguments["dora_wd"] = text_of(true);
    arguments["wd_on_output"] = text_of(*facts.axis == adapter::Axis::kOutput);
  }
  if (facts.rank_stabilized) {
    arguments["rs_lora"] = text_of(true);
  }
  return arguments.dump();
}

/// What kohya calls a model, and what the model specification does.
struct FamilyWords {
  std::string_view version;
  std::string_view version_begin;  ///< of all versions of this family
  std::string_view network;
  std::string_view architecture;
  std::string_view implementation;
  std::string_view resolution;
};

FamilyWords words_of(ModelFamily family) {
  switch (family) {
    case ModelFamily::kSdxl:
      return {"sdxl_base_v1-0",
              "sdxl",
              "networks.lora",
              "stable-diffusion-xl-v1-base/lora",
              "https://github.com/Stability-AI/generative-models",
              "1024x1024"};
    case ModelFamily::kSd3:
      return {"sd3m", "sd3", "networks.lora_sd3", "stable-diffusion-3-medium/lora", "diffusers", "1024x1024"};
    case ModelFamily::kFlux:
      return {"flux1",    "flux", "networks.lora_flux", "flux-1-dev/lora", "https://github.com/black-forest-labs/flux",
              "1024x1024"};
    default:
      return {"sd_v1", "sd_v1", "networks.lora", "stable-diffusion-v1/lora", "diffusers", "512x512"};
  }
}

storage::Metadata brought_along(const StoredAdapter& adapter) {
  storage::Metadata result;
  for (const auto& [key, value] : adapter.metadata) {
    if (key.starts_with("ss_") || (key.starts_with("modelspec.") && key != "modelspec.hash_sha256")) {
      result[key] = value;
    }
  }
  return result;
}

void add_training(storage::Metadata& metadata, const StoredAdapter& adapter, const std::string& name,
                  const WriteRequest& request) {
  const Facts facts = facts_of(adapter);
  const FamilyWords words = words_of(adapter.family);
  const auto version = metadata.find("ss_base_model_version");
  if (version == metadata.end() || !version->second.starts_with(words.version_begin)) {
    metadata["ss_base_model_version"] = words.version;
  }
  metadata["ss_v2"] = text_of(false);
  metadata["ss_network_module"] = facts.lycoris ? "lycoris.kohya" : words.network;
  metadata["ss_network_dim"] = fmt::format("{}", facts.size.first);
  metadata["ss_network_alpha"] = fmt::format("{}", facts.size.second);
  metadata["ss_network_args"] = arguments_of(facts);
  metadata["ss_output_name"] = name;
  if (request.base.hub_id || adapter.base) {
    metadata["ss_sd_model_name"] = request.base.hub_id ? *request.base.hub_id : *adapter.base;
  }
}

void add_model_specification(storage::Metadata& metadata, const StoredAdapter& adapter, const std::string& name,
                             const FileText& text) {
  const FamilyWords words = words_of(adapter.family);
  metadata["modelspec.sai_model_spec"] = "1.0.1";
  metadata.try_emplace("modelspec.architecture", words.architecture);
  metadata.try_emplace("modelspec.implementation", words.implementation);
  metadata.try_emplace("modelspec.resolution", words.resolution);
  metadata.try_emplace("modelspec.title", name);
  const auto say = [&](const char* key, const std::string& value) {
    if (!value.empty()) {
      metadata[key] = value;
    }
  };
  say("modelspec.title", text.title);
  say("modelspec.author", text.author);
  say("modelspec.trigger_phrase", text.trigger);
  say("modelspec.tags", fmt::format("{}", fmt::join(text.tags, ", ")));
}

std::string_view characters(std::span<const std::byte> bytes) {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the hash reads bytes as characters
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void add_hashes(storage::Metadata& metadata, std::span<const storage::NamedArray> arrays) {
  storage::Metadata training;
  for (const auto& [key, value] : metadata) {
    if (key.starts_with("ss_")) {
      training[key] = value;
    }
  }
  const std::vector<std::byte> bytes = storage::serialize_safetensors(arrays, training);
  const std::string_view file = characters(bytes);
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  const std::string whole = sha256_hex(file.substr(sizeof header + header));
  constexpr std::size_t kLegacyBegin = 0x100000;
  constexpr std::size_t kLegacySize = 0x10000;
  constexpr std::size_t kLegacyDigits = 8;
  metadata["sshs_model_hash"] = whole;
  metadata["sshs_legacy_hash"] =
      sha256_hex(file.substr(std::min(kLegacyBegin, file.size()), kLegacySize)).substr(0, kLegacyDigits);
  metadata["modelspec.hash_sha256"] = "0x" + whole;
}

}  // namespace

std::string output_name(const std::filesystem::path& target, const WriteRequest& request) {
  return request.name.empty() ? target.stem().string() : request.name;
}

storage::Metadata kohya_metadata(const StoredAdapter& adapter, std::span<const storage::NamedArray> arrays,
                                 const std::string& name, const WriteRequest& request) {
  storage::Metadata metadata = request.text.privacy ? storage::Metadata{} : brought_along(adapter);
  add_training(metadata, adapter, name, request);
  add_model_specification(metadata, adapter, name, request.text);
  add_hashes(metadata, arrays);
  return metadata;
}

}  // namespace dormer::interop
