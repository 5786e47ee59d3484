#include "interop/kohya_files.hpp"

namespace dormer::interop::kohya_files {
namespace {

TEST_F(Kohya, EveryKindComesBackOnBothAxes) {
  for (const std::optional<adapter::Axis> axis :
       {std::optional<adapter::Axis>{}, std::optional(adapter::Axis::kOutput), std::optional(adapter::Axis::kInput)}) {
    const StoredAdapter adapter = adapter_of(axis);
    write(adapter);
    const StoredAdapter back = read();
    ASSERT_EQ(back.layers.size(), adapter.layers.size());
    for (const auto& [name, layer] : adapter.layers) {
      ASSERT_TRUE(back.layers.contains(name)) << name;
      expect_same(back.layers.at(name), layer, name);
    }
    EXPECT_EQ(back.family, ModelFamily::kSd1);
    EXPECT_EQ(back.naming, Naming::kHuggingFace);
    EXPECT_THAT(back.warnings, IsEmpty());
    EXPECT_TRUE(adapter_formats().get("form", "kohya").recognizes(file()));
    EXPECT_FALSE(adapter_formats().get("form", "comfyui").recognizes(file()));
  }
}

TEST_F(Kohya, DifferencesComeBack) {
  StoredAdapter adapter = adapter_of();
  StoredLayer whole;
  whole.kind = "diff";
  whole.factors = {{"diff", array({8, 6, 3, 3}, 1)}, {"diff_b", array({8}, 2)}};
  adapter.layers["unet.conv_in"] = whole;
  write(adapter);
  EXPECT_EQ(storage::SafetensorsFile::open(file())->find("lora_unet_conv_in.alpha"), nullptr);
  expect_same(read().layers.at("unet.conv_in"), whole, "conv_in");
}

TEST_F(Kohya, ShapesAreThoseOfLycoris) {
  write(adapter_of(adapter::Axis::kInput), "kohya", DType::kBF16);
  const auto written = storage::SafetensorsFile::open(file());
  const auto expect = [&](const std::string& name, const Shape& shape, DType dtype) {
    const storage::TensorEntry* entry = written->find("lora_unet_down_blocks_1_" + name);
    ASSERT_NE(entry, nullptr) << name;
    EXPECT_EQ(entry->shape, shape) << name;
    EXPECT_EQ(entry->dtype, dtype) << name;
  };
  expect("attentions_0_transformer_blocks_0_attn1_to_q.lora_up.weight", {24, 4}, DType::kBF16);
  expect("attentions_0_transformer_blocks_0_attn1_to_q.dora_scale", {1, 20}, DType::kF32);
  expect("attentions_0_transformer_blocks_0_attn1_to_q.alpha", {}, DType::kF32);
  expect("resnets_0_conv1.lora_up.weight", {8, 5, 1, 1}, DType::kBF16);
  expect("resnets_0_conv1.dora_scale", {1, 6, 1, 1}, DType::kF32);
  expect("resnets_0_conv2.lora_down.weight", {3, 6, 1, 1}, DType::kBF16);
  expect("resnets_0_conv2.lora_mid.weight", {3, 3, 3, 2}, DType::kBF16);
  expect("resnets_1_conv1.hada_w1_b", {4, 36}, DType::kBF16);
  expect("resnets_1_conv2.hada_w1_a", {4, 8}, DType::kBF16);
  write(adapter_of(adapter::Axis::kOutput));
  const auto output = storage::SafetensorsFile::open(file());
  EXPECT_EQ(output->find("lora_unet_down_blocks_1_resnets_0_conv1.dora_scale")->shape, (Shape{8, 1, 1, 1}));
}

TEST_F(Kohya, AlphaOverRankIsTheScaleAlsoWhereItWasRankStabilized) {
  StoredAdapter adapter = adapter_of();
  StoredLayer& layer = adapter.layers.at(kLayerQ);
  layer.scale = *layer.alpha / std::sqrt(4.0);
  write(adapter);
  const StoredAdapter back = read();
  EXPECT_EQ(back.layers.at(kLayerQ).alpha, 7.0 * 2.0);
  EXPECT_EQ(back.layers.at(kLayerQ).scale, 3.5);
  EXPECT_THAT(back.metadata.at("ss_network_args"), HasSubstr(R"("rs_lora":"True")"));
}

// Every reader takes scale 1 where no factor says a rank.
TEST_F(Kohya, TheScaleOfWholeKroneckerFactorsIsFolded) {
  StoredAdapter adapter = adapter_of();
  const std::string name = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_v";
  StoredLayer& layer = adapter.layers.at(name);
  layer.scale = 4.0;
  write(adapter);
  const StoredLayer back = read().layers.at(name);
  EXPECT_EQ(back.scale, 1.0);
  for (std::size_t i = 0; i < layer.factors.at("lokr_w1").values.size(); ++i) {
    EXPECT_EQ(back.factors.at("lokr_w1").values[i], 4.0F * layer.factors.at("lokr_w1").values[i]);
  }
  EXPECT_EQ(back.factors.at("lokr_w2").values, layer.factors.at("lokr_w2").values);
}

TEST_F(Kohya, AlphaThatIsAbsentOrZeroCountsAsTheRank) {
  Arrays arrays = lora(kQ, false);
  put(arrays);
  EXPECT_EQ(read().layers.at(kLayerQ).scale, 1.0);
  EXPECT_FALSE(read().layers.at(kLayerQ).alpha.has_value());
  EXPECT_THAT(read().warnings, IsEmpty());
  arrays[std::string(kQ) + ".alpha"] = {.shape = {}, .values = {0.0F}};
  put(arrays);
  EXPECT_EQ(read().layers.at(kLayerQ).scale, 1.0);
}

TEST_F(Kohya, SomeAlphasAloneAreWarnedOf) {
  put(merged(lora(kQ, true), lora(kV, false)));
  const StoredAdapter back = read();
  EXPECT_EQ(back.layers.at(kLayerQ).scale, 2.0);
  EXPECT_THAT(back.warnings, ElementsAre(AllOf(HasSubstr("1 of 2 layers have no alpha"), HasSubstr("to_v"))));
}

TEST_F(Kohya, StableDiffusionXlIsWrittenUnderItsOwnNamesAndComesBack) {
  for (const char* form : {"kohya", "comfyui"}) {
    SCOPED_TRACE(form);
    const StoredAdapter adapter = xl_adapter(adapter::Axis::kInput);
    write(adapter, form);
    const auto written = storage::SafetensorsFile::open(file());
    const bool flat = std::string_view(form) == "kohya";
    for (const char* name :
         {flat ? "lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q.lora_down.weight"
               : "diffusion_model.input_blocks.4.1.transformer_blocks.1.attn1.to_q.lora_A.weight",
          flat ? "lora_unet_output_blocks_2_1_transformer_blocks_9_attn2_to_out_0.lora_up.weight"
               : "diffusion_model.output_blocks.2.1.transformer_blocks.9.attn2.to_out.0.lora_B.weight",
          flat ? "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.alpha"
               : "text_encoders.clip_l.transformer.text_model.encoder.layers.0.self_attn.q_proj.alpha",
          flat ? "lora_te2_text_model_encoder_layers_31_self_attn_q_proj.dora_scale"
               : "text_encoders.clip_g.transformer.text_model.encoder.layers.31.self_attn.q_proj.dora_scale"}) {
      EXPECT_NE(written->find(name), nullptr) << name;
    }
    EXPECT_EQ(written->metadata().at("ss_base_model_version"), "sdxl_base_v1-0");
    EXPECT_EQ(format_of(file()), form);
    const StoredAdapter back = read(form);
    EXPECT_EQ(back.family, ModelFamily::kSdxl);
    EXPECT_EQ(back.naming, Naming::kNative);
    EXPECT_THAT(back.layers, Contains(Key("unet.input_blocks.4.1.transformer_blocks.1.attn1.to_q")));
    EXPECT_THAT(back.layers, Contains(Key("text_encoder_2.text_model.encoder.layers.31.self_attn.q_proj")));
    expect_same(back.layers.at("unet.output_blocks.2.1.transformer_blocks.9.attn2.to_out.0"),
                adapter.layers.at("unet.up_blocks.0.attentions.2.transformer_blocks.9.attn2.to_out.0"), form);
  }
}

TEST_F(Kohya, ComfyuiHoldsTuckerMiddlesWhereItLooksForThem) {
  StoredAdapter adapter = xl_adapter();
  const StoredLayer tucker = layer_of(layer_cases()[3], 900);
  adapter.layers["unet.down_blocks.1.resnets.0.conv2"] = tucker;
  write(adapter, "comfyui");
  const auto written = storage::SafetensorsFile::open(file());
  EXPECT_NE(written->find("diffusion_model.input_blocks.4.0.out_layers.3.lora_mid.weight"), nullptr);
  EXPECT_NE(written->find("diffusion_model.input_blocks.4.0.out_layers.3.lora_up.weight"), nullptr);
  expect_same(read("comfyui").layers.at("unet.input_blocks.4.0.out_layers.3"), tucker, "conv2");
}

// kohya calls T5 the third text encoder, OneTrainer the second; diffusers has it second in Flux and third in SD3.
TEST_F(Kohya, T5IsWhereItsModelHasIt) {
  const std::string t5 = "encoder_block_0_layer_0_SelfAttention_q";
  const std::string layer = "encoder.block.0.layer.0.SelfAttention.q";
  const Arrays flux = lora("lora_unet_double_blocks_0_img_attn_proj");
  put(merged(flux, lora("lora_te3_" + t5)));
  EXPECT_THAT(read().layers, Contains(Key("text_encoder_2." + layer)));
  EXPECT_THAT(read().layers, Contains(Key("transformer.double_blocks.0.img_attn.proj")));
  EXPECT_EQ(read().naming, Naming::kNative);
  EXPECT_EQ(read().family, ModelFamily::kFlux);
  put(merged(flux, lora("lora_te2_" + t5)));
  EXPECT_THAT(read().layers, Contains(Key("text_encoder_2." + layer)));
  write(read());
  EXPECT_NE(storage::SafetensorsFile::open(file())->find("lora_te3_" + t5 + ".alpha"), nullptr);
  put(merged(merged(flux, lora("lora_te2_" + t5)), lora("lora_te3_" + t5)));
  EXPECT_THAT(refusal(), AllOf(HasSubstr("3: "), HasSubstr("under two names")));
  put(merged(lora("lora_unet_joint_blocks_0_x_block_attn_proj"), lora("lora_te3_" + t5)));
  EXPECT_THAT(read().layers, Contains(Key("text_encoder_3." + layer)));
  EXPECT_EQ(read().family, ModelFamily::kSd3);
}

TEST_F(Kohya, PrefixesOfOtherTrainersAreRead) {
  put(lora("lycoris_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"));
  EXPECT_THAT(read().layers, ElementsAre(Key(kLayerQ)));
  put(lora("lora_transformer_transformer_blocks_0_attn_to_q"));
  EXPECT_THAT(read().layers, ElementsAre(Key("transformer.transformer_blocks.0.attn.to_q")));
  EXPECT_EQ(read().naming, Naming::kHuggingFace);
  put(lora("lora_te_text_model_encoder_layers_0_mlp_fc1"));
  EXPECT_THAT(read().layers, ElementsAre(Key("text_encoder.text_model.encoder.layers.0.mlp.fc1")));
}

}  // namespace
}  // namespace dormer::interop::kohya_files
