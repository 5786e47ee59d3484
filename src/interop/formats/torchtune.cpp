#include <array>
#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/json_extent.hpp"
#include "dormer/interop/adapter_format.hpp"
#include "dormer/storage/safetensors.hpp"
#include "layer_arrays.hpp"

namespace dormer::interop::formats {
namespace {

namespace fs = std::filesystem;

struct Pair {
  std::string_view torchtune;
  std::string_view other;
};

constexpr std::array kEndings{Pair{".lora_a.weight", "lora_A"}, Pair{".lora_b.weight", "lora_B"},
                              Pair{".lora.magnitude", "magnitude"}, Pair{".magnitude", "magnitude"}};
constexpr std::array kModules{Pair{"attn.q_proj", "self_attn.q_proj"},
                              Pair{"attn.k_proj", "self_attn.k_proj"},
                              Pair{"attn.v_proj", "self_attn.v_proj"},
                              Pair{"attn.output_proj", "self_attn.o_proj"},
                              Pair{"mlp.w1", "mlp.gate_proj"},
                              Pair{"mlp.w2", "mlp.down_proj"},
                              Pair{"mlp.w3", "mlp.up_proj"}};

/// "layers.3.attn.q_proj" is transformers' "model.layers.3.self_attn.q_proj".
std::optional<std::string> layer_name(const std::string& stem) {
  constexpr std::string_view kLayers = "layers.";
  if (stem == "output") {
    return "lm_head";
  }
  const std::size_t dot = stem.find('.', kLayers.size());
  if (!stem.starts_with(kLayers) || dot == std::string::npos) {
    return std::nullopt;
  }
  for (const Pair& module : kModules) {
    if (stem.substr(dot + 1) == module.torchtune) {
      return "model." + stem.substr(0, dot + 1) + std::string(module.other);
    }
  }
  return std::nullopt;
}

std::optional<ArrayMeaning> meaning_of(const std::string& name) {
  for (const Pair& ending : kEndings) {
    if (name.ends_with(ending.torchtune)) {
      const std::optional<std::string> layer = layer_name(name.substr(0, name.size() - ending.torchtune.size()));
      return layer ? std::optional(ArrayMeaning{*layer, std::string(ending.other)}) : std::nullopt;
    }
  }
  return std::nullopt;
}

nlohmann::json json_beside(const fs::path& file, const char* name, const char* needed_for) {
  const fs::path path = file.parent_path() / name;
  std::error_code code;
  require(fs::exists(path, code), Fault::kInput, "{} needs {} beside it, for {}; torchtune writes both into one folder",
          file.string(), name, needed_for);
  const std::string text = read_file(path, name);
  require_shallow_json(text, path.string());
  nlohmann::json value = nlohmann::json::parse(text, nullptr, false);
  require(value.is_object(), Fault::kInput, "{} is no JSON object", path.string());
  return value;
}

double number_of(const nlohmann::json& object, const char* key, const fs::path& file) {
  require(object.contains(key) && object.at(key).is_number() && object.at(key).get<double>() > 0.0, Fault::kInput,
          "{} beside {} does not say {}", "its configuration", file.string(), key);
  return object.at(key).get<double>();
}

/// torchtune turns the rows of q_proj and k_proj, head by head, from transformers' halves to neighbouring pairs.
class RowOrder {
 public:
  RowOrder(std::int64_t heads, std::int64_t rows) : pairs_(rows / heads / 2), size_(rows / heads), rows_(rows) {}
  [[nodiscard]] bool possible() const { return pairs_ > 0 && 2 * pairs_ == size_ && rows_ % size_ == 0; }
  /// Where transformers' row stands in torchtune's matrix.
  [[nodiscard]] std::int64_t from(std::int64_t row) const {
    const std::int64_t head = row / size_;
    const std::int64_t inside = row % size_;
    return head * size_ + 2 * (inside % pairs_) + inside / pairs_;
  }
  [[nodiscard]] std::vector<float> turned(const std::vector<float>& values) const {
    const auto width = static_cast<std::int64_t>(values.size()) / rows_;
    std::vector<float> result(values.size());
    for (std::int64_t row = 0; row < rows_; ++row) {
      for (std::int64_t column = 0; column < width; ++column) {
        result[static_cast<std::size_t>(row * width + column)] =
            values[static_cast<std::size_t>(from(row) * width + column)];
      }
    }
    return result;
  }

 private:
  std::int64_t pairs_;
  std::int64_t size_;
  std::int64_t rows_;
};

void turn_rows(StoredAdapter& adapter, const fs::path& source) {
  std::optional<nlohmann::json> model;
  for (auto& [name, layer] : adapter.layers) {
    const bool query = name.ends_with(".q_proj");
    if (!query && !name.ends_with(".k_proj")) {
      continue;
    }
    if (!model) {
      model =
          json_beside(source, "config.json", "the number of heads, by which torchtune turns rows of q_proj and k_proj");
    }
    const char* key = query || !model->contains("num_key_value_heads") ? "num_attention_heads" : "num_key_value_heads";
    StoredArray& b = layer.factors.at("lora_B");
    const double heads = number_of(*model, key, source);
    const std::int64_t rows = b.shape.at(0);
    const bool whole = heads >= 1.0 && heads <= static_cast<double>(rows) && heads == std::floor(heads);
    const RowOrder order(whole ? static_cast<std::int64_t>(heads) : rows, rows);
    require(whole && order.possible(), Fault::kInput,
            "{} rows of '{}' are no heads of an even width, of which config.json says {} ({})", rows, name,
            model->at(key).dump(), key);
    b.values = order.turned(b.values);
    if (layer.axis) {
      layer.magnitude = order.turned(layer.magnitude);
    }
  }
}

StoredAdapter read(const fs::path& source, const ReadOptions& options) {
  const auto file = storage::SafetensorsFile::open(source);
  StoredAdapter adapter = read_layer_arrays(*file, options, meaning_of);
  const nlohmann::json config =
      json_beside(source, "adapter_config.json", "r and lora_alpha, which the file does not say");
  const double scale = number_of(config, "lora_alpha", source) / number_of(config, "r", source);
  for (auto& [name, layer] : adapter.layers) {
    layer.alpha = scale * static_cast<double>(layer.rank);
    layer.scale = scale;
  }
  turn_rows(adapter, source);
  adapter.family = ModelFamily::kLanguage;
  return adapter;
}

}  // namespace

AdapterFormat torchtune() {
  return {.doc = "A file of torchtune under its own names (layers.0.attn.q_proj.lora_a.weight, ….magnitude).",
          .file_name = "{}.safetensors",
          .recognizes =
              [](const fs::path& source) {
                return any_array(source, [](const std::string& name) { return name.ends_with(".lora_a.weight"); });
              },
          .read = read};
}

}  // namespace dormer::interop::formats
