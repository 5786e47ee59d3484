#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"
#include "dormer/interop/adapter_format.hpp"
#include "dormer/interop/consumer.hpp"
#include "support/adapter_file.hpp"
#include "support/program.hpp"

namespace dormer::interop {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kLayer = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q";

template <typename Action>
std::string error_of(const Action& action, Fault fault) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), fault) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was refused";
  return {};
}

class OneTrainerFiles : public testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path path(const std::string& name = "a.safetensors") const {
    return directory_.path() / name;
  }
  [[nodiscard]] StoredAdapter read(const ReadOptions& options = {}) const {
    EXPECT_EQ(format_of(path()), "onetrainer");
    return read_adapter(path(), options);
  }

 private:
  test::TempDirectory directory_;
};

/// A linear layer with rank 2, [6, 5].
void add_linear(test::AdapterFile& file, const std::string& stem, const char* down, const char* up) {
  file.add(stem + "." + down + ".weight", {2, 5});
  file.add(stem + "." + up + ".weight", {6, 2});
}

TEST_F(OneTrainerFiles, ItsOwnFormIsReadWithAlphaAndMagnitudes) {
  test::AdapterFile file(1);
  const std::vector<float> down = file.add(std::string(kLayer) + ".lora_down.weight", {2, 5});
  const std::vector<float> up = file.add(std::string(kLayer) + ".lora_up.weight", {6, 2});
  file.add_number(std::string(kLayer) + ".alpha", 3.0F);
  const std::vector<float> scale = file.add(std::string(kLayer) + ".dora_scale", {1, 5});
  file.write(path());
  const StoredAdapter adapter = read();
  ASSERT_TRUE(adapter.layers.contains(kLayer));
  const StoredLayer& layer = adapter.layers.at(kLayer);
  EXPECT_EQ(layer.kind, "lora");
  EXPECT_EQ(layer.scale, 1.5);
  EXPECT_EQ(layer.axis, adapter::Axis::kInput);
  EXPECT_THAT(layer.magnitude, ElementsAreArray(scale));
  EXPECT_THAT(layer.factors.at("lora_A").values, ElementsAreArray(down));
  EXPECT_THAT(layer.factors.at("lora_B").values, ElementsAreArray(up));
  EXPECT_EQ(adapter.naming, Naming::kHuggingFace);
}

TEST_F(OneTrainerFiles, ABackupIsAFolder) {
  std::filesystem::create_directories(path("backup/lora"));
  test::AdapterFile file(2);
  add_linear(file, kLayer, "lora_down", "lora_up");
  file.write(path("backup/lora/lora.safetensors"));
  EXPECT_EQ(format_of(path("backup")), "onetrainer");
  EXPECT_EQ(read_adapter(path("backup")).layers.count(kLayer), 1U);
}

TEST_F(OneTrainerFiles, SpellingsOfOtherProgramsMeanTheSame) {
  const std::string bare = std::string(kLayer).substr(std::string("unet.").size());
  for (const auto& [stem, down, up] :
       {std::array<std::string, 3>{"base_model.model." + bare, "lora_A", "lora_B"},
        std::array<std::string, 3>{"base_model.model." + bare, "lora_A.default", "lora_B.default"},
        std::array<std::string, 3>{kLayer, "lora.down", "lora.up"}}) {
    test::AdapterFile file(3);
    add_linear(file, stem, down.c_str(), up.c_str());
    file.write(path());
    EXPECT_EQ(read().layers.count(kLayer), 1U) << stem << " " << down;
    EXPECT_EQ(read().layers.at(kLayer).scale, 1.0) << "an alpha that is absent counts as the rank";
  }
}

TEST_F(OneTrainerFiles, OmiNamesTextEncodersByTheirKind) {
  test::AdapterFile file(4);
  add_linear(file, "unet.input_blocks.4.1.transformer_blocks.0.attn1.to_q", "lora_down", "lora_up");
  add_linear(file, "clip_l.text_model.encoder.layers.0.mlp.fc1", "lora_down", "lora_up");
  add_linear(file, "clip_g.text_model.encoder.layers.0.mlp.fc1", "lora_down", "lora_up");
  file.write(path());
  const StoredAdapter adapter = read();
  EXPECT_EQ(adapter.naming, Naming::kNative);
  EXPECT_EQ(adapter.family, ModelFamily::kSdxl);
  EXPECT_EQ(adapter.layers.count("text_encoder.text_model.encoder.layers.0.mlp.fc1"), 1U);
  EXPECT_EQ(adapter.layers.count("text_encoder_2.text_model.encoder.layers.0.mlp.fc1"), 1U);
}

TEST_F(OneTrainerFiles, OmiNumbersThePartsOfFusedLayers) {
  test::AdapterFile file(5);
  for (const char* part : {"0", "1", "2"}) {
    add_linear(file, std::string("transformer.double_blocks.3.img_attn.qkv.") + part, "lora_down", "lora_up");
  }
  add_linear(file, "transformer.single_blocks.1.linear1.3", "lora_down", "lora_up");
  add_linear(file, "transformer.double_blocks.3.img_attn.proj", "lora_down", "lora_up");
  add_linear(file, "transformer.img_in.proj", "lora_down", "lora_up");
  add_linear(file, "t5.encoder.block.0.layer.0.SelfAttention.q", "lora_down", "lora_up");
  file.write(path());
  const StoredAdapter adapter = read();
  EXPECT_EQ(adapter.family, ModelFamily::kFlux);
  EXPECT_EQ(adapter.naming, Naming::kHuggingFace);
  std::vector<std::string> names;
  for (const auto& [name, layer] : adapter.layers) {
    names.push_back(name);
  }
  EXPECT_THAT(names,
              testing::UnorderedElementsAre(
                  "transformer.transformer_blocks.3.attn.to_q", "transformer.transformer_blocks.3.attn.to_k",
                  "transformer.transformer_blocks.3.attn.to_v", "transformer.single_transformer_blocks.1.proj_mlp",
                  "transformer.transformer_blocks.3.attn.to_out.0", "transformer.x_embedder",
                  "text_encoder_2.encoder.block.0.layer.0.SelfAttention.q"));
}

TEST_F(OneTrainerFiles, OriginalHasNoPrefix) {
  test::AdapterFile file(6);
  add_linear(file, "double_blocks.0.img_attn.proj", "lora_A", "lora_B");
  file.add_number("double_blocks.0.img_attn.proj.alpha", 1.0F);
  file.write(path());
  EXPECT_EQ(read().layers.at("transformer.double_blocks.0.img_attn.proj").scale, 0.5);
}

TEST_F(OneTrainerFiles, EmbeddingsAreRefusedByNameOrListed) {
  test::AdapterFile file(7);
  add_linear(file, kLayer, "lora_down", "lora_up");
  file.add("bundle_emb.<teapot>.clip_l", {2, 4});
  file.write(path());
  EXPECT_THAT(error_of([&] { return read(); }, Fault::kInput), HasSubstr("bundle_emb.<teapot>.clip_l"));
  EXPECT_THAT(read({.allow_partial = true}).left_out, ElementsAre("bundle_emb.<teapot>.clip_l"));
}

TEST_F(OneTrainerFiles, MagnitudesOfTwoAxesAreRefused) {
  const std::string other = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q";
  test::AdapterFile file(8);
  add_linear(file, kLayer, "lora_down", "lora_up");
  add_linear(file, other, "lora_down", "lora_up");
  file.add(std::string(kLayer) + ".dora_scale", {1, 5});
  file.add(other + ".dora_scale", {6, 1});
  file.write(path());
  const std::string error = error_of([&] { return read(); }, Fault::kInput);
  EXPECT_THAT(error, testing::AllOf(HasSubstr(kLayer), HasSubstr(other)));
}

/// What comes back is what was given, on both axes.
TEST_F(OneTrainerFiles, WritesWhatItReads) {
  for (const std::vector<std::int64_t>& shape : {std::vector<std::int64_t>{1, 5}, std::vector<std::int64_t>{6, 1}}) {
    test::AdapterFile file(9);
    add_linear(file, kLayer, "lora_down", "lora_up");
    file.add_number(std::string(kLayer) + ".alpha", 3.0F);
    file.add(std::string(kLayer) + ".dora_scale", shape);
    file.write(path());
    StoredAdapter adapter = read();
    adapter.family = ModelFamily::kSdxl;
    const BaseFacts base{.hub_id = std::nullopt, .folder = {}, .linear_layers = {}};
    write_for("onetrainer", consumer_registry().get("consumer", "onetrainer"), adapter, path("b.safetensors"),
              {.base = base});
    const StoredAdapter back = read_adapter(path("b.safetensors"));
    EXPECT_EQ(format_of(path("b.safetensors")), "onetrainer");
    const StoredLayer& wanted = adapter.layers.at(kLayer);
    const StoredLayer& layer = back.layers.at(kLayer);
    EXPECT_EQ(layer.scale, wanted.scale);
    EXPECT_EQ(layer.axis, wanted.axis);
    EXPECT_EQ(layer.magnitude, wanted.magnitude);
    EXPECT_EQ(layer.factors.at("lora_B").values, wanted.factors.at("lora_B").values);
    EXPECT_EQ(back.metadata.at("ss_base_model_version"), "sdxl_base_v1-0");
  }
}

TEST_F(OneTrainerFiles, WhatItHasNoModuleForIsRefused) {
  const Consumer consumer = consumer_registry().get("consumer", "onetrainer");
  const auto refusal = [&](const StoredAdapter& adapter) {
    return error_of([&] { require_exact("onetrainer", consumer, adapter); }, Fault::kUsage);
  };
  test::AdapterFile file(10);
  add_linear(file, kLayer, "lora_down", "lora_up");
  file.write(path());
  const StoredAdapter plain = read();
  StoredAdapter tucker = plain;
  tucker.layers.at(kLayer).factors["lora_mid"] = {.shape = {2, 2, 3, 3}, .values = std::vector<float>(36)};
  EXPECT_THAT(refusal(tucker), HasSubstr("Tucker"));
  StoredAdapter hadamard = plain;
  hadamard.layers.at(kLayer).kind = "loha";
  hadamard.layers.at(kLayer).axis = adapter::Axis::kInput;
  EXPECT_THAT(refusal(hadamard), HasSubstr("decomposed loha"));
  StoredAdapter ranks = plain;
  ranks.layers["unet.conv_in"] = plain.layers.at(kLayer);
  ranks.layers.at("unet.conv_in").rank = 4;
  EXPECT_THAT(refusal(ranks), HasSubstr("one rank"));
  StoredAdapter language = plain;
  language.layers["model.layers.0.mlp.up_proj"] = plain.layers.at(kLayer);
  EXPECT_THAT(refusal(language), HasSubstr("model.layers.0.mlp.up_proj"));
}

TEST_F(OneTrainerFiles, AiToolkitsMagnitudesAreOfOutputs) {
  test::AdapterFile file(11);
  add_linear(file, "transformer.single_transformer_blocks.0.proj_mlp", "lora_A", "lora_B");
  const std::vector<float> magnitude = file.add("transformer.single_transformer_blocks.0.proj_mlp.magnitude", {6});
  file.write(path());
  EXPECT_EQ(format_of(path()), "ai_toolkit");
  const StoredAdapter adapter = read_adapter(path());
  const StoredLayer& layer = adapter.layers.at("transformer.single_transformer_blocks.0.proj_mlp");
  EXPECT_EQ(layer.axis, adapter::Axis::kOutput);
  EXPECT_THAT(layer.magnitude, ElementsAreArray(magnitude));
  EXPECT_THAT(adapter.warnings, testing::Contains(HasSubstr("says no alpha")));
}

}  // namespace
}  // namespace dormer::interop
