#include <optional>
#include <string>

#include "dormer/core/error.hpp"
#include "dormer/interop/adapter_format.hpp"
#include "dormer/storage/safetensors.hpp"
#include "kohya_keys.hpp"
#include "layer_arrays.hpp"
#include "layer_names.hpp"
#include "onetrainer_names.hpp"
#include "onetrainer_write.hpp"

namespace dormer::interop::formats {
namespace {

namespace fs = std::filesystem;

/// A backup of OneTrainer is a folder.
fs::path file_of(const fs::path& source) {
  std::error_code code;
  return fs::is_directory(source, code) ? source / "lora" / "lora.safetensors" : source;
}

bool recognizes(const fs::path& source) {
  std::error_code code;
  // PEFT's own folder keeps alpha in its configuration.
  if (fs::exists(source.parent_path() / "adapter_config.json", code) ||
      fs::exists(source / "adapter_config.json", code)) {
    return false;
  }
  return any_array(file_of(source), is_onetrainer_array);
}

/// Where the layers of a file lie. Names are read twice: what "t5" is depends on the others.
class Places {
 public:
  explicit Places(const storage::SafetensorsFile& file) {
    for (const storage::TensorEntry& entry : file.tensors()) {
      const std::optional<ArrayMeaning> key = parse_onetrainer_key(entry.name);
      const OneTrainerStem stem = parse_onetrainer_stem(key ? key->layer : entry.name);
      in_parts_ = in_parts_ || is_part(stem.path);
      of_sd3_ = of_sd3_ || stem.component == "clip_g" || stem.path.starts_with("joint_blocks.");
    }
  }

  /// Nothing for layers of no model whose names are known.
  [[nodiscard]] std::optional<std::string> layer_name(const std::string& stem) const {
    const OneTrainerStem parsed = parse_onetrainer_stem(stem);
    if (parsed.component == "clip_l") {
      return "text_encoder." + parsed.path;
    }
    if (parsed.component == "clip_g") {
      return "text_encoder_2." + parsed.path;
    }
    if (parsed.component == "t5") {
      return (of_sd3_ ? "text_encoder_3." : "text_encoder_2.") + parsed.path;
    }
    if (parsed.component.starts_with("text_encoder")) {
      return stem;
    }
    const std::string path =
        parsed.path == "img_in.proj" ? "img_in" : parsed.path;  // OMI's word for Flux's first layer
    const std::optional<std::string> component = denoiser_component(path);
    if (!component || (!parsed.component.empty() && parsed.component != *component)) {
      return std::nullopt;
    }
    return *component + "." + path;
  }

  /// Whether layers that the model's own code has in one stand there in parts.
  [[nodiscard]] bool in_parts() const { return in_parts_; }

 private:
  bool in_parts_ = false;
  bool of_sd3_ = false;  ///< T5 is SD3's third text encoder and Flux's second
};

StoredAdapter read(const fs::path& source, const ReadOptions& options) {
  const auto file = storage::SafetensorsFile::open(file_of(source));
  const Places places(*file);
  StoredAdapter adapter =
      read_layer_arrays(*file, options, [&](const std::string& name) -> std::optional<ArrayMeaning> {
        std::optional<ArrayMeaning> key = parse_onetrainer_key(name);
        const std::optional<std::string> layer = key ? places.layer_name(key->layer) : std::nullopt;
        return layer ? std::optional(ArrayMeaning{*layer, key->tensor}) : std::nullopt;
      });
  adapter.naming = places.in_parts() ? Naming::kNative : naming_of(adapter);
  adapter.family = family_of(adapter);
  // Parts have no names of their own but diffusers'.
  return places.in_parts() ? renamed(adapter, Naming::kHuggingFace) : adapter;
}

}  // namespace

AdapterFormat onetrainer() {
  return {.doc = "A file of OneTrainer's dotted forms: its own (unet.down_blocks.….lora_down.weight), OMI, ORIGINAL.",
          .file_name = "{}.safetensors",
          .recognizes = recognizes,
          .read = read,
          .write = write_onetrainer};
}

}  // namespace dormer::interop::formats
