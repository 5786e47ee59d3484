#include <algorithm>
#include <cmath>
#include <memory>
#include <span>

#include <fmt/ranges.h>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/interop/peft.hpp"
#include "dormer/storage/safetensors.hpp"
#include "layer_names.hpp"
#include "model_files.hpp"
#include "peft_config_text.hpp"
#include "peft_kronecker.hpp"
#include "peft_names.hpp"
#include "stored_values.hpp"

namespace dormer::interop {
namespace {

namespace fs = std::filesystem;

bool is_diffusion(ModelFamily family) {
  return family != ModelFamily::kUnknown && family != ModelFamily::kLanguage;
}

/// "lora" for all that is PEFT's LoRA; empty for modules that were trained whole.
std::string method_of(const StoredLayer& layer) {
  return layer.kind == "full" || layer.kind == "bias" ? "" : layer.kind == "locon" ? "lora" : layer.kind;
}

void require_one_method(const StoredAdapter& adapter) {
  std::string method;
  for (const auto& [name, layer] : adapter.layers) {
    const std::string own = method_of(layer);
    require(own != "diff", Fault::kUsage,
            "PEFT's folder has no place for the difference of whole weights of '{}'; merge the adapter instead", name);
    require(method.empty() || own.empty() || method == own, Fault::kUsage,
            "PEFT's folder holds adapters of one kind, and '{}' is a {} beside a {}; merge the adapter instead", name,
            own, method);
    method = own.empty() ? method : own;
  }
  require(!adapter.layers.empty(), Fault::kUsage, "there is no adapted layer to write");
  for (const auto& [name, layer] : adapter.layers) {
    require(layer.bias.empty() || method.empty() || method == "lora", Fault::kUsage,
            "PEFT trains biases beside LoRA alone, and '{}' has one beside {}; merge the adapter, or train with "
            "adapter.bias: none the next time",
            name, method);
  }
  require(adapter.tokens.empty() || method.empty() || method == "lora", Fault::kUsage,
          "PEFT trains rows of added tokens beside LoRA alone, not beside {}; merge the adapter instead", method);
}

void require_decomposition(const StoredAdapter& adapter) {
  const bool decomposed = adapter.decomposed();
  for (const auto& [name, layer] : adapter.layers) {
    require(!layer.axis || *layer.axis == adapter::Axis::kOutput, Fault::kUsage,
            "PEFT computes the norms of output rows, and '{}' has magnitudes of input channels; merge the adapter, or "
            "train with adapter.decompose.axis: output the next time",
            name);
    require(!layer.axis || method_of(layer) == "lora", Fault::kUsage,
            "PEFT has no magnitudes for the {} of '{}'; merge the adapter instead", layer.kind, name);
    require(method_of(layer).empty() || layer.axis.has_value() == decomposed, Fault::kUsage,
            "use_dora of PEFT is for all layers, and '{}' has no magnitudes where others have them; merge the adapter "
            "instead",
            name);
  }
}

void require_shapes(const std::string& name, const StoredLayer& layer, const BaseFacts& base) {
  constexpr std::size_t kTwoAxes = 2;
  require(
      !layer.factors.contains("lora_mid"), Fault::kUsage,
      "PEFT has no Tucker form of LoRA ('{}'); merge the adapter, or train with adapter.tucker: false the next time",
      name);
  require(layer.kind != "loha" || kernel_axes(layer) <= kTwoAxes, Fault::kUsage,
          "PEFT has no LoHa on a convolution of three axes ('{}'); merge the adapter instead", name);
  for (const adapter::FrozenLayer& frozen : base.layers) {
    require(
        frozen.site.name != name || frozen.site.convolution.groups == 1 || method_of(layer) != "lora", Fault::kUsage,
        "PEFT groups lora_B of a grouped convolution ('{}'), which is another change; merge the adapter instead", name);
  }
}

/// PEFT's use_effective_conv2d is for all convolutions with a kernel.
void require_one_form(const StoredAdapter& adapter, const BaseFacts& base) {
  const bool tucker =
      std::ranges::any_of(adapter.layers, [](const auto& entry) { return entry.second.factors.contains("hada_t1"); });
  for (const auto& [name, layer] : adapter.layers) {
    if (layer.kind != "loha") {
      continue;
    }
    const auto middle = layer.factors.find("hada_t1");
    if (middle != layer.factors.end()) {
      const std::vector<std::int64_t>& shape = middle->second.shape;
      require(std::any_of(shape.begin() + 2, shape.end(), [](std::int64_t taps) { return taps > 1; }), Fault::kUsage,
              "PEFT has no Tucker form for the pointwise '{}'; merge the adapter instead", name);
      continue;
    }
    for (const adapter::FrozenLayer& frozen : base.layers) {
      require(
          !tucker || frozen.site.name != name || frozen.site.taps() == 1, Fault::kUsage,
          "'{}' is not in the Tucker form that other layers have, and PEFT's use_effective_conv2d is for all; merge "
          "the adapter instead",
          name);
    }
  }
}

ArrayList collect(const StoredAdapter& adapter, DType dtype) {
  ArrayList result;
  for (const auto& [module, tokens] : adapter.tokens) {
    const std::int64_t rows = std::ssize(tokens.indices);
    const StoredArray values{.shape = {rows, std::ssize(tokens.rows) / rows}, .values = tokens.rows};
    result.add(peft_key({module, std::string(kPeftTokens)}), values, dtype);
  }
  for (const auto& [name, layer] : adapter.layers) {
    for (const auto& [factor, values] : layer.factors) {
      StoredArray shaped = peft_factor(layer, factor);
      if (layer.kind == "lokr" && layer.rank == 0 && factor == "lokr_w1") {
        // without a low-rank factor there is no scale elsewhere, and PEFT's alpha / r is 1
        shaped = scaled(std::move(shaped), layer.scale);
      }
      result.add(peft_key({name, factor}), shaped, dtype);
    }
    if (!layer.bias.empty()) {
      const StoredArray bias{.shape = {std::ssize(layer.bias)}, .values = layer.bias};
      result.add(peft_key({name, layer.kind == "bias" ? "bias" : std::string(kPeftBias)}), bias, dtype);
    }
    if (layer.axis) {
      result.add(peft_key({name, std::string(kPeftMagnitude)}), peft_magnitude(layer), dtype);
    }
  }
  return result;
}

/// Reads what is on disk with our own reader: every tensor's bytes, and the numbers of the configuration.
void compare(const fs::path& folder, const ArrayList& wanted, const StoredAdapter& adapter) {
  const auto file = storage::SafetensorsFile::open(folder / "adapter_model.safetensors");
  require(holds_exactly(*file, wanted.arrays()), Fault::kIo,
          "{} does not read back as it was written; is the disk or the file system failing?", file->path().string());
  const StoredAdapter back = read_peft(folder);
  const bool same =
      back.layers.size() == adapter.layers.size() && back.tokens.size() == adapter.tokens.size() &&
      std::ranges::all_of(adapter.layers, [&](const auto& entry) {
        constexpr double kRounding = 1e-14;  // of a quotient in double precision
        const auto found = back.layers.find(entry.first);
        const StoredLayer& layer = entry.second;
        return found != back.layers.end() && found->second.kind == layer.kind && found->second.rank == layer.rank &&
               found->second.axis == layer.axis && found->second.bias.size() == layer.bias.size() &&
               (layer.rank == 0 || std::abs(found->second.scale - layer.scale) <= kRounding * std::abs(layer.scale));
      });
  invariant(same, "the configuration in {} is not the adapter's", folder.string());
}

}  // namespace

std::int64_t tokenizer_bytes(const fs::path& folder) {
  std::int64_t bytes = 0;
  for (const std::string_view name : kTokenizerFiles) {
    std::error_code code;
    if (!folder.empty() && fs::is_regular_file(folder / name, code)) {
      bytes += static_cast<std::int64_t>(fs::file_size(folder / name, code));
    }
  }
  return bytes;
}

void require_peft(const StoredAdapter& adapter, const BaseFacts& base) {
  require(!is_diffusion(adapter.family) || adapter.naming == Naming::kHuggingFace, Fault::kUsage,
          "PEFT's folder names layers as diffusers does; write the adapter for diffusers or kohya");
  for (const auto& [name, layer] : adapter.layers) {
    require(
        !is_diffusion(adapter.family) || split_component(name).component.empty(), Fault::kUsage,
        "PEFT's folder holds the adapter of one model, and '{}' is in a part of {}; write it for diffusers or kohya",
        name, name_of(adapter.family));
    require_shapes(name, layer, base);
  }
  require_one_method(adapter);
  require_decomposition(adapter);
  require_one_form(adapter, base);
  (void)peft_kronecker(adapter, base);
}

void write_peft(const StoredAdapter& adapter, const fs::path& folder, const WriteRequest& request) {
  require_peft(adapter, request.base);
  const ArrayList arrays = collect(adapter, request.dtype);
  write_folder(folder, "adapter_config.json", [&](const fs::path& temporary) {
    storage::write_safetensors(temporary / "adapter_model.safetensors", arrays.arrays(), {{"format", "pt"}});
    const std::string text = peft_config_text(adapter, request);
    write_new_file(temporary / "adapter_config.json", std::as_bytes(std::span(text)));
    copy_tokenizer(request.base.folder, temporary);
    compare(temporary, arrays, adapter);
  });
}

}  // namespace dormer::interop
