#include "kohya_write.hpp"

#include <algorithm>
#include <utility>

#include "dormer/core/error.hpp"
#include "dormer/storage/safetensors.hpp"
#include "kohya_keys.hpp"
#include "kohya_metadata.hpp"
#include "layer_names.hpp"

namespace dormer::interop {
namespace {

void require_place(const StoredAdapter& adapter, ModelFamily family) {
  require(adapter.tokens.empty(), Fault::kUsage,
          "rows of added tokens have no place in a file for image models; write them for peft or merged");
  const StoredLayer* decomposed = nullptr;
  for (const auto& [name, layer] : adapter.layers) {
    require(!split_component(name).component.empty(), Fault::kUsage,
            "'{}' is a layer of no image model, and this form has names for those alone; write it for peft or merged",
            name);
    require(layer.kind != "full", Fault::kUsage,
            "'{}' was trained whole, and this form holds changes alone; write it for merged", name);
    require(layer.kind != "diff" || !layer.axis, Fault::kUsage,
            "'{}' is a plain difference with magnitudes, which programs of this form pass over; write it for merged",
            name);
    require(!layer.factors.contains("lora_embedding_A"), Fault::kUsage,
            "'{}' is an embedding, for which this form has no tensors; write it for peft or merged", name);
    require(decomposed == nullptr || !layer.axis || decomposed->axis == layer.axis, Fault::kUsage,
            "'{}' is decomposed by another axis than other layers, and a file of this form has one axis; write it for "
            "merged",
            name);
    decomposed = layer.axis ? &layer : decomposed;
  }
  require(!adapter.layers.empty(), Fault::kUsage, "an adapter without layers cannot be written");
  require(family != ModelFamily::kUnknown && family != ModelFamily::kLanguage, Fault::kUsage,
          "the layers ('{}' among them) are of no image model whose names this form has; write them for diffusers or "
          "merged",
          adapter.layers.begin()->first);
}

/// The form's names: SGM, Black Forest Labs and MMDiT, but those of diffusers for Stable Diffusion 1.x in flat files.
Naming written_naming(ModelFamily family, KohyaSpelling spelling) {
  require(family != ModelFamily::kSd1 || spelling == KohyaSpelling::kFlat, Fault::kUsage,
          "there are no dotted names for Stable Diffusion 1.x here; write the form kohya, which ComfyUI reads as well");
  return family == ModelFamily::kSd1 ? Naming::kHuggingFace : Naming::kNative;
}

struct LayerWriter {
  ArrayList& arrays;
  DType dtype;
  std::string stem;

  void add(const std::string& factor, const StoredArray& values) const {
    arrays.add(fmt::format("{}.{}", stem, factor), values, dtype);
  }

  void add_low_rank(const StoredLayer& layer, KohyaSpelling spelling) const {
    const auto middle = layer.factors.find("lora_mid");
    const bool tucker = middle != layer.factors.end();
    // ComfyUI looks for a Tucker middle beside lora_up and lora_down alone.
    const bool flat = spelling == KohyaSpelling::kFlat || tucker;
    StoredArray down = layer.factors.at("lora_A");
    if (tucker) {
      down.shape.resize(2 + kernel_axes(layer), 1);
      add("lora_mid.weight", middle->second);
    }
    add(flat ? "lora_down.weight" : "lora_A.weight", down);
    add(flat ? "lora_up.weight" : "lora_B.weight", up_of(layer));
  }

  void add_factors(const StoredLayer& layer, KohyaSpelling spelling) const {
    if (layer.factors.contains("lora_A")) {
      add_low_rank(layer, spelling);
      return;
    }
    for (const auto& [factor, values] : layer.factors) {
      // Readers take scale 1 where both factors are whole, whatever alpha says.
      const bool takes_scale =
          layer.rank == 0 && layer.scale != 1.0 && (factor == "lokr_w1" || factor.starts_with("diff"));
      add(factor, takes_scale ? scaled(values, layer.scale) : values);
    }
  }
};

std::string stem_of(ModelFamily family, const std::string& layer, KohyaSpelling spelling) {
  return spelling == KohyaSpelling::kFlat ? flat_stem(family, layer) : dotted_stem(family, layer);
}

/// Under the form's names for the layers of its model.
StoredAdapter with_kohya_names(const StoredAdapter& adapter, KohyaSpelling spelling) {
  const ModelFamily family = adapter.family == ModelFamily::kUnknown ? family_of(adapter) : adapter.family;
  require_place(adapter, family);
  StoredAdapter named = renamed(adapter, written_naming(family, spelling));
  named.family = family;
  return named;
}

}  // namespace

ArrayList kohya_arrays(const StoredAdapter& adapter, DType dtype, KohyaSpelling spelling) {
  ArrayList result;
  for (const auto& [name, layer] : adapter.layers) {
    const std::string stem = stem_of(adapter.family, name, spelling);
    const LayerWriter writer{result, dtype, stem};
    writer.add_factors(layer, spelling);
    if (layer.kind != "diff") {
      result.add_number(stem + ".alpha", layer.rank == 0 ? 1.0 : plain_alpha(layer));
    }
    if (layer.axis) {
      result.add(stem + ".dora_scale", dora_scale_of(layer, name), DType::kF32);
    }
  }
  return result;
}

void require_kohya_names(const StoredAdapter& adapter, KohyaSpelling spelling) {
  const StoredAdapter named = with_kohya_names(adapter, spelling);
  for (const auto& [name, layer] : named.layers) {
    static_cast<void>(stem_of(named.family, name, spelling));
  }
}

void write_kohya(const StoredAdapter& adapter, const std::filesystem::path& target, const WriteRequest& request,
                 KohyaSpelling spelling) {
  const StoredAdapter named = with_kohya_names(adapter, spelling);
  const ArrayList list = kohya_arrays(named, request.dtype, spelling);
  const storage::Metadata metadata = kohya_metadata(named, list.arrays(), output_name(target, request), request);
  write_arrays(target, list, metadata);
}

}  // namespace dormer::interop
