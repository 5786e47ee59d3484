#include "onetrainer_write.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "dormer/core/error.hpp"
#include "dormer/storage/safetensors.hpp"
#include "kohya_metadata.hpp"
#include "layer_names.hpp"
#include "stored_values.hpp"

namespace dormer::interop {
namespace {

bool is_low_rank(const StoredLayer& layer) {
  return layer.kind == "lora" || layer.kind == "locon";
}

/// A layer with a kernel, by what the file tells or else by its name.
bool is_convolution(const std::string& name, const StoredLayer& layer) {
  const std::string module = split_component(name).module;
  const std::string last = module.substr(module.rfind('.') + 1);
  return layer.kernel_axes > 0 || last.starts_with("conv");
}

void require_module(const std::string& name, const StoredLayer& layer) {
  const bool embedding = layer.factors.contains("lora_embedding_A");
  require((is_low_rank(layer) || layer.kind == "loha" || layer.kind == "lokr") && !embedding, Fault::kUsage,
          "OneTrainer has no module for '{}', a {}; write merged weights (export for merged)", name,
          embedding ? "lora of an embedding" : layer.kind);
  require(!layer.factors.contains("lora_mid") && !layer.factors.contains("hada_t1"), Fault::kUsage,
          "OneTrainer computes no Tucker middle of a {}, which '{}' has; write merged weights (export for merged), or "
          "train with adapter.tucker: false the next time",
          layer.kind, name);
  require(layer.kind != "loha" || !layer.axis, Fault::kUsage,
          "OneTrainer computes no decomposed loha, which '{}' is; write merged weights (export for merged), or train "
          "without adapter.decompose the next time",
          name);
  // Its loha keeps factors [rank, in, k, k], and files of every other program flatten them.
  require(
      layer.kind != "loha" || !is_convolution(name, layer), Fault::kUsage,
      "OneTrainer's loha of a convolution has a shape that flattened factors do not tell ('{}'); write it for kohya",
      name);
  require(
      layer.kernel_axes == 0 || layer.kernel_axes == 2, Fault::kUsage,
      "OneTrainer has modules for convolutions of two axes, and '{}' has {}; write merged weights (export for merged)",
      name, layer.kernel_axes);
}

/// It divides every alpha by the one rank of its settings.
void require_one_rank(const StoredAdapter& adapter) {
  std::pair<std::string, std::int64_t> first{"", 0};
  for (const auto& [name, layer] : adapter.layers) {
    if (layer.rank == 0) {
      continue;
    }
    first = first.second == 0 ? std::pair{name, layer.rank} : first;
    require(
        layer.rank == first.second, Fault::kUsage,
        "OneTrainer has one rank for all layers, but '{}' has rank {} and '{}' has {}; write it for kohya, or train "
        "with one rank the next time",
        first.first, first.second, name, layer.rank);
  }
}

void require_one_module_kind(const StoredAdapter& adapter) {
  const auto word = [](const StoredLayer& layer) {
    return fmt::format("{}{}", layer.axis ? "decomposed " : "", is_low_rank(layer) ? "lora" : layer.kind);
  };
  const auto& [first_name, first] = *adapter.layers.begin();
  for (const auto& [name, layer] : adapter.layers) {
    require(word(layer) == word(first), Fault::kUsage,
            "OneTrainer has one kind of module in a file, but '{}' is a {} and '{}' a {}; write it for kohya",
            first_name, word(first), name, word(layer));
    require(layer.axis == first.axis, Fault::kUsage,
            "OneTrainer has one axis in a file, but '{}' and '{}' are decomposed by two; write merged weights",
            first_name, name);
  }
}

void add_layer(ArrayList& arrays, const std::string& name, const StoredLayer& layer, std::int64_t rank, DType dtype) {
  for (const auto& [factor, values] : layer.factors) {
    if (factor == "lora_A") {
      arrays.add(name + ".lora_down.weight", values, dtype);
    } else if (factor == "lora_B") {
      arrays.add(name + ".lora_up.weight", up_of(layer), dtype);
    } else {
      // Readers divide alpha by a rank that whole factors do not have: their scale goes into the factor.
      const bool takes_scale = layer.rank == 0 && layer.scale != 1.0 && factor == "lokr_w1";
      arrays.add(fmt::format("{}.{}", name, factor), takes_scale ? scaled(values, layer.scale) : values, dtype);
    }
  }
  arrays.add_number(name + ".alpha", layer.rank == 0 ? static_cast<double>(rank) : plain_alpha(layer));
  if (layer.axis) {
    arrays.add(name + ".dora_scale", dora_scale_of(layer, name), DType::kF32);
  }
}

ArrayList arrays_of(const StoredAdapter& adapter, DType dtype) {
  std::int64_t rank = 0;
  for (const auto& [name, layer] : adapter.layers) {
    rank = std::max(rank, layer.rank);
  }
  ArrayList arrays;
  for (const auto& [name, layer] : adapter.layers) {
    add_layer(arrays, name, layer, std::max<std::int64_t>(rank, 1), dtype);
  }
  return arrays;
}

}  // namespace

void require_onetrainer_computes(const StoredAdapter& adapter) {
  require(!adapter.layers.empty(), Fault::kUsage, "an adapter without layers cannot be written");
  for (const auto& [name, layer] : adapter.layers) {
    require(!split_component(name).component.empty(), Fault::kUsage,
            "'{}' is a layer of no image model, and OneTrainer trains those alone; write it for peft", name);
    require_module(name, layer);
  }
  require_one_rank(adapter);
  require_one_module_kind(adapter);
}

void write_onetrainer(const StoredAdapter& adapter, const std::filesystem::path& target, const WriteRequest& request) {
  require_onetrainer_computes(adapter);
  StoredAdapter named = renamed(adapter, Naming::kHuggingFace);
  named.family = adapter.family == ModelFamily::kUnknown ? family_of(named) : adapter.family;
  require(named.family != ModelFamily::kUnknown, Fault::kUsage,
          "the layers ('{}' among them) are of no image model that is known here; write them for diffusers or merged",
          named.layers.begin()->first);
  require_onetrainer_computes(named);
  const ArrayList list = arrays_of(named, request.dtype);
  const storage::Metadata metadata = kohya_metadata(named, list.arrays(), output_name(target, request), request);
  write_arrays(target, list, metadata);
}

}  // namespace dormer::interop
