#include "interop/layer_names.hpp"

#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dormer/core/error.hpp"
#include "interop/stored_layers.hpp"

namespace dormer::interop {
namespace {

using test::adapter_of;
using test::lora;
using test::usage_error;
using ::testing::AllOf;
using ::testing::HasSubstr;
using Names = std::vector<std::string>;

// Every layer of the released models, put together as their code does.

void add(Names& names, const std::string& prefix, const Names& ends) {
  for (const std::string& end : ends) {
    names.push_back(prefix + end);
  }
}

void add_transformers(Names& names, const std::string& prefix, int depth) {
  add(names, prefix, {".proj_in", ".proj_out"});
  for (int block = 0; block < depth; ++block) {
    const std::string path = fmt::format("{}.transformer_blocks.{}.", prefix, block);
    for (const std::string attention : {"attn1", "attn2"}) {
      add(names, path + attention, {".to_q", ".to_k", ".to_v", ".to_out.0"});
    }
    add(names, path, {"ff.net.0.proj", "ff.net.2"});
  }
}

Names unet(const std::vector<int>& depths, int middle_depth) {
  Names names{"unet.conv_in", "unet.conv_out", "unet.time_embedding.linear_1", "unet.time_embedding.linear_2"};
  const Names resnet{".conv1", ".conv2", ".time_emb_proj", ".conv_shortcut"};
  const int count = static_cast<int>(depths.size());
  for (int block = 0; block < count; ++block) {
    for (int layer = 0; layer < 3; ++layer) {
      for (const bool up : {false, true}) {
        if (!up && layer == 2) {
          continue;
        }
        const std::string path = fmt::format("unet.{}_blocks.{}.", up ? "up" : "down", block);
        add(names, fmt::format("{}resnets.{}", path, layer), resnet);
        const int depth = depths[static_cast<std::size_t>(up ? count - 1 - block : block)];
        if (depth > 0) {
          add_transformers(names, fmt::format("{}attentions.{}", path, layer), depth);
        }
      }
    }
    if (block + 1 < count) {
      names.push_back(fmt::format("unet.down_blocks.{}.downsamplers.0.conv", block));
      names.push_back(fmt::format("unet.up_blocks.{}.upsamplers.0.conv", block));
    }
  }
  add(names, "unet.mid_block.resnets.0", resnet);
  add(names, "unet.mid_block.resnets.1", resnet);
  add_transformers(names, "unet.mid_block.attentions.0", middle_depth);
  return names;
}

Names transformer(int blocks, int single_blocks, int dual_blocks) {
  Names names{"transformer.context_embedder", "transformer.norm_out.linear", "transformer.proj_out",
              single_blocks > 0 ? "transformer.x_embedder" : "transformer.pos_embed.proj"};
  for (const std::string embedder : {"timestep_embedder", "text_embedder", "guidance_embedder"}) {
    if (single_blocks > 0 || embedder != "guidance_embedder") {
      add(names, "transformer.time_text_embed." + embedder, {".linear_1", ".linear_2"});
    }
  }
  for (int block = 0; block < blocks; ++block) {
    const std::string path = fmt::format("transformer.transformer_blocks.{}.", block);
    add(names, path,
        {"attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0", "attn.add_q_proj", "attn.add_k_proj",
         "attn.add_v_proj", "norm1.linear", "norm1_context.linear", "ff.net.0.proj", "ff.net.2"});
    if (single_blocks > 0 || block + 1 < blocks) {
      add(names, path, {"attn.to_add_out", "ff_context.net.0.proj", "ff_context.net.2"});
    }
    if (block < dual_blocks) {
      add(names, path, {"attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0"});
    }
  }
  for (int block = 0; block < single_blocks; ++block) {
    add(names, fmt::format("transformer.single_transformer_blocks.{}.", block),
        {"attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp", "proj_out", "norm.linear"});
  }
  return names;
}

struct Model {
  std::string name;
  ModelFamily family;
  Names layers;
};
void PrintTo(const Model& model, std::ostream* stream) {
  *stream << model.name;
}

std::vector<Model> models() {
  return {{"StableDiffusion1", ModelFamily::kSd1, unet({1, 1, 1, 0}, 1)},
          {"StableDiffusionXl", ModelFamily::kSdxl,
           [] {
             Names names = unet({0, 2, 10}, 10);
             add(names, "unet.add_embedding", {".linear_1", ".linear_2"});
             return names;
           }()},
          {"StableDiffusion3", ModelFamily::kSd3, transformer(24, 0, 0)},
          {"StableDiffusion35", ModelFamily::kSd3, transformer(24, 0, 13)},
          {"Flux", ModelFamily::kFlux, transformer(19, 38, 0)}};
}

/// Small changes of the right proportions: 2 features where the model has its hidden width.
StoredAdapter whole_adapter(const Model& model) {
  StoredAdapter adapter{.family = model.family};
  std::uint32_t seed = 3;
  for (const std::string& name : model.layers) {
    const bool modulation = name.ends_with("norm1.linear") || name.ends_with("norm1_context.linear");
    const bool last = model.family == ModelFamily::kSd3 && name.ends_with(".23.norm1_context.linear");
    const std::int64_t out = modulation && !last                         ? 12
                             : name.ends_with("norm_out.linear") || last ? 4
                             : name.ends_with("proj_mlp")                ? 8
                                                                         : 2;
    adapter.layers[name] = lora(out, 2, 1, 0.5, ++seed * 2);
  }
  return adapter;
}

class EveryModel : public ::testing::TestWithParam<Model> {};
INSTANTIATE_TEST_SUITE_P(Names, EveryModel, ::testing::ValuesIn(models()),
                         [](const auto& chosen) { return chosen.param.name; });

TEST_P(EveryModel, FlatNamesOfBothNamingsComeBack) {
  const StoredAdapter adapter = whole_adapter(GetParam());
  for (const Naming naming : {Naming::kHuggingFace, Naming::kNative}) {
    for (const auto& [name, layer] : renamed(adapter, naming).layers) {
      const LayerName parts = split_component(name);
      EXPECT_EQ(dotted_name(flat_name(parts.module)), parts.module);
    }
  }
}

TEST_P(EveryModel, RenamingThereAndBackIsTheSameAdapter) {
  const StoredAdapter adapter = whole_adapter(GetParam());
  const StoredAdapter native = renamed(adapter, Naming::kNative);
  EXPECT_EQ(native.naming, Naming::kNative);
  const StoredAdapter back = renamed(native, Naming::kHuggingFace);
  ASSERT_EQ(back.layers.size(), adapter.layers.size());
  for (const auto& [name, layer] : adapter.layers) {
    ASSERT_TRUE(back.layers.contains(name)) << name;
    const StoredLayer& other = back.layers.at(name);
    EXPECT_EQ(other.factors.at("lora_A").values, layer.factors.at("lora_A").values) << name;
    EXPECT_EQ(other.factors.at("lora_B").values, layer.factors.at("lora_B").values) << name;
    EXPECT_EQ(other.alpha, layer.alpha);
    EXPECT_EQ(other.scale, layer.scale);
  }
}

TEST_P(EveryModel, IsKnownByItsNamesInBothNamings) {
  StoredAdapter adapter = whole_adapter(GetParam());
  for (const Naming naming : {Naming::kHuggingFace, Naming::kNative}) {
    adapter = renamed(adapter, naming);
    adapter.family = ModelFamily::kUnknown;
    if (GetParam().name == "StableDiffusion3" || naming == Naming::kNative || GetParam().family != ModelFamily::kSd3) {
      EXPECT_EQ(family_of(adapter), GetParam().family);
    }
    EXPECT_EQ(naming_of(adapter), naming);
    adapter.family = GetParam().family;
  }
}

TEST(LayerNames, FlatNamesOfTextEncodersComeBack) {
  for (const std::string name :
       {"text_model.encoder.layers.11.self_attn.q_proj", "text_model.encoder.layers.0.self_attn.out_proj",
        "text_model.encoder.layers.0.mlp.fc1", "text_model.embeddings.token_embedding", "text_projection",
        "text_model.final_layer_norm", "encoder.block.23.layer.0.SelfAttention.q",
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias", "encoder.block.0.layer.1.DenseReluDense.wi_0",
        "encoder.block.0.layer.1.DenseReluDense.wo", "model.layers.3.mlp.gate_proj"}) {
    EXPECT_EQ(dotted_name(flat_name(name)), name);
  }
  EXPECT_EQ(dotted_name("down_blocks_0_no_such_part"), std::nullopt);
  EXPECT_EQ(dotted_name("down_blocks_0_"), std::nullopt);
  EXPECT_EQ(dotted_name("down_blocks__0"), std::nullopt);
  EXPECT_EQ(dotted_name(""), std::nullopt);
  // The longest part, "attn_out"-like ones included, is given up where the rest is none: final_layer_norm and
  // final_layer.
  EXPECT_EQ(dotted_name("final_layer_linear"), "final_layer.linear");
}

TEST(LayerNames, ComponentsAreSplitOffOnlyWhereTheyAreSome) {
  EXPECT_EQ(split_component("text_encoder_2.text_model.encoder").component, "text_encoder_2");
  EXPECT_EQ(split_component("transformer.single_blocks.0.linear1").module, "single_blocks.0.linear1");
  EXPECT_EQ(split_component("transformer.h.0.attn.c_attn").component, "");
  EXPECT_EQ(split_component("model.layers.0.self_attn.q_proj").component, "");
}

TEST(LayerNames, WhatNamesDoNotTellMetadataAndWidthsTell) {
  const std::string attention = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k";
  StoredAdapter adapter = adapter_of({{attention, lora(4, 6, 1, 1.0, 1)}}, ModelFamily::kUnknown);
  EXPECT_EQ(family_of(adapter), ModelFamily::kUnknown);
  EXPECT_THAT(usage_error([&] { (void)renamed(adapter, Naming::kNative); }),
              AllOf(HasSubstr(attention), HasSubstr("ss_base_model_version")));
  adapter.metadata["ss_base_model_version"] = "sdxl_base_v1-0";
  EXPECT_EQ(family_of(adapter), ModelFamily::kSdxl);
  EXPECT_EQ(family_of(adapter_of({{attention, lora(4, 768, 1, 1.0, 1)}}, ModelFamily::kUnknown)), ModelFamily::kSd1);
  const auto query = [](std::int64_t width) {
    return family_of(
        adapter_of({{"transformer.transformer_blocks.0.attn.to_q", lora(2, width, 1, 1.0, 1)}}, ModelFamily::kUnknown));
  };
  EXPECT_EQ(query(3072), ModelFamily::kFlux);
  EXPECT_EQ(query(1536), ModelFamily::kSd3);
  EXPECT_EQ(query(64), ModelFamily::kUnknown);
  EXPECT_EQ(family_of(adapter_of({{"model.layers.0.q_proj", lora(4, 6, 1, 1.0, 1)}}, ModelFamily::kUnknown)),
            ModelFamily::kLanguage);
}

TEST(LayerNames, TwoNamingsInOneFileAreRefused) {
  const StoredAdapter adapter =
      adapter_of({{"unet.conv_in", lora(4, 6, 1, 1.0, 1)}, {"unet.out.2", lora(4, 6, 1, 1.0, 1)}}, ModelFamily::kSdxl);
  try {
    (void)naming_of(adapter);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kInput);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("unet.conv_in"), HasSubstr("unet.out.2")));
  }
}

TEST(LayerNames, SgmNamesOfTheWaysDownAndUp) {
  const auto native = [](ModelFamily family, const std::string& name) {
    return renamed(adapter_of({{name, lora(4, 6, 1, 1.0, 1)}}, family), Naming::kNative).layers.begin()->first;
  };
  EXPECT_EQ(native(ModelFamily::kSdxl, "unet.down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q"),
            "unet.input_blocks.4.1.transformer_blocks.1.attn1.to_q");
  EXPECT_EQ(native(ModelFamily::kSdxl, "unet.down_blocks.0.downsamplers.0.conv"), "unet.input_blocks.3.0.op");
  EXPECT_EQ(native(ModelFamily::kSdxl, "unet.up_blocks.1.upsamplers.0.conv"), "unet.output_blocks.5.2.conv");
  EXPECT_EQ(native(ModelFamily::kSd1, "unet.up_blocks.0.upsamplers.0.conv"), "unet.output_blocks.2.1.conv");
  EXPECT_EQ(native(ModelFamily::kSd1, "unet.up_blocks.2.upsamplers.0.conv"), "unet.output_blocks.8.2.conv");
  EXPECT_EQ(native(ModelFamily::kSdxl, "unet.mid_block.resnets.1.time_emb_proj"), "unet.middle_block.2.emb_layers.1");
  EXPECT_THAT(usage_error([&] { (void)native(ModelFamily::kSdxl, "unet.down_blocks.3.resnets.0.conv1"); }),
              HasSubstr("unet.down_blocks.3.resnets.0.conv1"));
}

TEST(LayerNames, TextEncodersAndLanguageModelsKeepTheirNames) {
  for (const std::string name : {"text_encoder_2.text_model.encoder.layers.0.mlp.fc1", "model.layers.0.mlp.up_proj"}) {
    const bool language = name.starts_with("model");
    const StoredAdapter other =
        renamed(adapter_of({{name, lora(4, 6, 1, 1.0, 1)}}, language ? ModelFamily::kLanguage : ModelFamily::kSdxl),
                Naming::kNative);
    EXPECT_TRUE(other.layers.contains(name));
  }
}

}  // namespace
}  // namespace dormer::interop
