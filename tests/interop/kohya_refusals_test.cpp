#include "interop/kohya_files.hpp"

namespace dormer::interop::kohya_files {
namespace {

class KohyaRefusals : public Kohya {};

TEST_F(KohyaRefusals, UnknownArraysAreListedAndMayBeLeftOut) {
  Arrays arrays = lora(kQ);
  arrays["lora_unet_nowhere_to_q.alpha"] = array({1}, 3);
  arrays[std::string(kQ) + ".oft_blocks"] = array({4, 4}, 3);
  arrays["bundle_emb.cat.string_to_param.*"] = array({2, 8}, 4);
  put(arrays);
  EXPECT_THAT(refusal(), AllOf(HasSubstr("3: "), HasSubstr("3 arrays that are not understood"), HasSubstr("oft_blocks"),
                               HasSubstr("nowhere"), HasSubstr("bundle_emb"), HasSubstr("--allow-partial")));
  const StoredAdapter partial = read("kohya", true);
  EXPECT_EQ(partial.left_out.size(), 3U);
  EXPECT_THAT(partial.layers, ElementsAre(Key(kLayerQ)));
}

TEST_F(KohyaRefusals, FilesOfNoFormAreNotRecognized) {
  put({{"weight", array({2, 2}, 1)}});
  EXPECT_FALSE(adapter_formats().get("form", "kohya").recognizes(file()));
  EXPECT_FALSE(adapter_formats().get("form", "kohya").recognizes(folder_.path()));
  EXPECT_FALSE(adapter_formats().get("form", "kohya").recognizes(folder_.path() / "nothing.safetensors"));
  EXPECT_THAT(message_of([&] { static_cast<void>(format_of(file())); }), HasSubstr("3: "));
}

// A converter of diffusers leaves these behind; programs then apply a DoRA as a LoRA without its magnitudes.
TEST_F(KohyaRefusals, NamesOfPeftAreRefused) {
  Arrays arrays = lora(kQ);
  arrays["lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1.to_q.lora_magnitude_vector"] = array({24}, 5);
  put(arrays);
  EXPECT_TRUE(adapter_formats().get("form", "kohya").recognizes(file()));
  EXPECT_THAT(refusal(), AllOf(HasSubstr("3: "), HasSubstr("PEFT's names"), HasSubstr("lora_magnitude_vector"),
                               HasSubstr("another, plain adapter")));
  EXPECT_THAT(read("kohya", true).warnings, ElementsAre(HasSubstr("left out")));
  EXPECT_THAT(read("kohya", true).left_out, ElementsAre(HasSubstr("lora_magnitude_vector")));
  put({{std::string(kQ) + ".lora_A.weight", array({4, 20}, 1)},
       {std::string(kQ) + ".lora_B.weight", array({24, 4}, 2)}});
  EXPECT_THAT(refusal(), AllOf(HasSubstr("PEFT's names"), HasSubstr("nothing of them is applied")));
}

TEST_F(KohyaRefusals, TwoNamingsInOneFileAreRefused) {
  put(merged(lora("lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q"),
             lora("lora_unet_down_blocks_2_attentions_0_transformer_blocks_1_attn1_to_q")));
  EXPECT_THAT(refusal(), AllOf(HasSubstr("3: "), HasSubstr("two namings")));
}

TEST_F(KohyaRefusals, TwoAxesInOneFileAreRefused) {
  Arrays arrays = merged(lora(kQ), lora(kV));
  arrays[std::string(kQ) + ".dora_scale"] = array({24, 1}, 3);
  arrays[std::string(kV) + ".dora_scale"] = array({1, 20}, 4);
  put(arrays, {{"ss_network_args", R"({"wd_on_output": "True"})"}});
  EXPECT_THAT(refusal(), AllOf(HasSubstr("3: "), HasSubstr("two axes"), HasSubstr("to_q' by output"),
                               HasSubstr("to_v' by input")));
}

TEST_F(KohyaRefusals, AnAxisThatTheShapeCannotTellIsTakenFromTheMetadataOrRefused) {
  const std::string stem = kQ;
  const Arrays arrays{{stem + ".lora_down.weight", array({2, 1}, 1)},
                      {stem + ".lora_up.weight", array({1, 2}, 2)},
                      {stem + ".dora_scale", array({1, 1}, 3)}};
  put(arrays);
  EXPECT_THAT(refusal(),
              AllOf(HasSubstr("3: "), HasSubstr("[1, 1]"), HasSubstr("wd_on_output"), HasSubstr("ss_network_args")));
  put(arrays, {{"ss_network_args", R"({"dora_wd": "True", "wd_on_output": "True"})"}});
  EXPECT_EQ(read().layers.at(kLayerQ).axis, adapter::Axis::kOutput);
  put(arrays, {{"ss_network_args", R"({"wd_on_out": false})"}});
  EXPECT_EQ(read().layers.at(kLayerQ).axis, adapter::Axis::kInput);
  // Another layer of the file tells it as well: a file has one axis.
  Arrays two = merged(arrays, lora(kV));
  two[std::string(kV) + ".dora_scale"] = array({1, 20}, 4);
  put(two);
  EXPECT_EQ(read().layers.at(kLayerQ).axis, adapter::Axis::kInput);
  // One dimension, as a magnitude of PEFT that was only renamed.
  Arrays flat = lora(kQ);
  flat[stem + ".dora_scale"] = array({24}, 4);
  put(flat);
  EXPECT_THAT(refusal(), AllOf(HasSubstr("[24]"), HasSubstr("[out, 1] or [1, in]")));
}

TEST_F(KohyaRefusals, MetadataThatContradictsTheShapeIsRefused) {
  Arrays arrays = lora(kQ);
  arrays[std::string(kQ) + ".dora_scale"] = array({1, 20}, 3);
  put(arrays, {{"ss_network_args", R"({"wd_on_output": "True"})"}});
  EXPECT_THAT(refusal(), AllOf(HasSubstr("3: "), HasSubstr("input"), HasSubstr("output")));
}

TEST_F(KohyaRefusals, DamagedLayersAreRefused) {
  Arrays arrays = lora(kQ);
  arrays[std::string(kQ) + ".lora_up.weight"].values[7] = std::nanf("");
  put(arrays);
  EXPECT_THAT(refusal(), AllOf(HasSubstr("3: "), HasSubstr("not finite"), HasSubstr("lora_up")));
  arrays = lora(kQ);
  arrays[std::string(kQ) + ".lora_up.weight"] = array({24, 5}, 2);
  put(arrays);
  EXPECT_THAT(refusal(), AllOf(HasSubstr("3: "), HasSubstr("do not fit"), HasSubstr(kLayerQ)));
  arrays = lora(kQ);
  arrays.erase(std::string(kQ) + ".lora_up.weight");
  put(arrays);
  EXPECT_THAT(refusal(), AllOf(HasSubstr("3: "), HasSubstr("lora_B")));
  arrays = lora(kQ);
  arrays[std::string(kQ) + ".dora_scale"] = array({1, 19}, 2);
  put(arrays);
  EXPECT_THAT(refusal(), AllOf(HasSubstr("3: "), HasSubstr("19")));
  arrays = lora(kQ);
  arrays[std::string(kQ) + ".lora_up"] = array({24, 4}, 2);
  put(arrays);
  EXPECT_THAT(refusal(), AllOf(HasSubstr("3: "), HasSubstr("two spellings")));
}

TEST_F(KohyaRefusals, WhatHasNoPlaceInTheFormIsRefusedWithTheWayOut) {
  const LayerCase& plain = layer_cases().front();
  StoredAdapter adapter{.family = ModelFamily::kLanguage};
  adapter.layers["model.layers.0.self_attn.q_proj"] = layer_of(plain, 1);
  EXPECT_THAT(write_refusal(adapter),
              AllOf(HasSubstr("2: "), HasSubstr("model.layers.0.self_attn.q_proj"), HasSubstr("peft")));
  adapter = adapter_of();
  adapter.tokens["model.embed_tokens"] = {};
  EXPECT_THAT(write_refusal(adapter), AllOf(HasSubstr("2: "), HasSubstr("tokens")));
  adapter = adapter_of();
  StoredLayer whole;
  whole.kind = "full";
  whole.factors = {{"weight", array({8, 4, 3, 3}, 1)}};
  adapter.layers["unet.conv_in"] = whole;
  EXPECT_THAT(write_refusal(adapter), AllOf(HasSubstr("2: "), HasSubstr("unet.conv_in"), HasSubstr("merged")));
  adapter = adapter_of(adapter::Axis::kInput);
  adapter.layers[kLayerQ] = layer_of(plain, 1, adapter::Axis::kOutput);
  EXPECT_THAT(write_refusal(adapter), AllOf(HasSubstr("2: "), HasSubstr("another axis")));
  EXPECT_THAT(write_refusal(adapter_of(), "comfyui"), AllOf(HasSubstr("2: "), HasSubstr("form kohya")));
  EXPECT_FALSE(fs::exists(file()));
}

TEST_F(KohyaRefusals, MetadataSaysWhatReadersAskFor) {
  base_.hub_id = "org/base";
  const FileText text{.title = "A title", .author = "Somebody", .trigger = "sks cat", .tags = {"cat", "photo"}};
  StoredAdapter adapter = adapter_of(adapter::Axis::kInput);
  adapter.metadata = {
      {"ss_steps", "40"}, {"format", "pt"}, {"sshs_model_hash", "old"}, {"modelspec.date", "2026-01-01"}};
  write(adapter, "kohya", DType::kF32, text);
  const storage::Metadata metadata = read().metadata;
  EXPECT_EQ(metadata.at("ss_v2"), "False");
  EXPECT_EQ(metadata.at("ss_base_model_version"), "sd_v1");
  EXPECT_EQ(metadata.at("ss_network_module"), "lycoris.kohya");
  EXPECT_EQ(metadata.at("ss_network_dim"), "4");
  EXPECT_EQ(metadata.at("ss_network_alpha"), "7");
  EXPECT_EQ(metadata.at("ss_output_name"), "one");
  EXPECT_EQ(metadata.at("ss_sd_model_name"), "org/base");
  EXPECT_EQ(read().base, "org/base");
  const nlohmann::json arguments = nlohmann::json::parse(metadata.at("ss_network_args"));
  EXPECT_EQ(arguments.at("dora_wd"), "True");
  EXPECT_EQ(arguments.at("wd_on_output"), "False");
  EXPECT_EQ(arguments.at("algo"), "lokr");
  EXPECT_EQ(arguments.at("use_tucker"), "True");
  EXPECT_FALSE(arguments.contains("rs_lora"));
  EXPECT_EQ(metadata.at("modelspec.title"), "A title");
  EXPECT_EQ(metadata.at("modelspec.author"), "Somebody");
  EXPECT_EQ(metadata.at("modelspec.trigger_phrase"), "sks cat");
  EXPECT_EQ(metadata.at("modelspec.tags"), "cat, photo");
  EXPECT_EQ(metadata.at("modelspec.architecture"), "stable-diffusion-v1/lora");
  EXPECT_EQ(metadata.at("ss_steps"), "40");
  EXPECT_EQ(metadata.at("modelspec.date"), "2026-01-01");
  EXPECT_NE(metadata.at("sshs_model_hash"), "old");
  EXPECT_THAT(metadata, Not(Contains(Key("format"))));
}

TEST_F(KohyaRefusals, PrivacyLeavesOutWhatWasBroughtAlong) {
  StoredAdapter adapter = adapter_of();
  adapter.metadata = {{"ss_tag_frequency", R"({"cat": 3})"},    {"ss_datasets", R"([{"image_dir": "/datasets/cats"}])"},
                      {"ss_training_started_at", "1700000000"}, {"modelspec.date", "2026-01-01"},
                      {"ss_sd_model_name", "/models/a.ckpt"},   {"ss_training_comment", "mine"}};
  write(adapter, "kohya", DType::kF32,
        FileText{.title = "A title", .author = "", .trigger = "", .tags = {}, .privacy = true});
  const storage::Metadata metadata = read().metadata;
  for (const auto& [key, value] : metadata) {
    EXPECT_THAT(value, AllOf(Not(HasSubstr("/datasets")), Not(HasSubstr("/models")))) << key;
    EXPECT_FALSE(adapter.metadata.contains(key)) << key;
  }
  EXPECT_EQ(metadata.at("modelspec.title"), "A title");
  EXPECT_THAT(metadata, Contains(Key("ss_network_args")));
}

TEST_F(KohyaRefusals, ProgramsRefuseWhatTheyComputeWrongly) {
  const auto refusal_of = [](const char* name, const StoredAdapter& adapter) {
    return message_of([&] { require_exact(name, consumer_registry().get("consumer", name), adapter); });
  };
  for (const char* name : {"comfyui", "forge", "a1111"}) {
    EXPECT_THAT(refusal_of(name, adapter_of(adapter::Axis::kOutput)), AllOf(HasSubstr("2: "), HasSubstr("output")))
        << name;
    EXPECT_EQ(refusal_of(name, adapter_of(adapter::Axis::kInput)), "");
    EXPECT_EQ(refusal_of(name, adapter_of()), "");
  }
  EXPECT_EQ(refusal_of("kohya", adapter_of(adapter::Axis::kOutput)), "");
  EXPECT_EQ(refusal_of("kohya", adapter_of(adapter::Axis::kInput)), "");
  StoredAdapter flux{.family = ModelFamily::kFlux};
  flux.layers["transformer.double_blocks.0.img_attn.proj"] = layer_of(layer_cases().front(), 1);
  EXPECT_THAT(refusal_of("a1111", flux), AllOf(HasSubstr("2: "), HasSubstr("forge")));
  EXPECT_EQ(refusal_of("stable_diffusion_cpp", flux), "");
  StoredAdapter narrow = adapter_of();
  narrow.layers[kLayerQ] =
      layer_of({"", "lora", {{"lora_A", {2, 20}}, {"lora_B", {1, 2}}}, 2, 0, 1, 20}, 1, adapter::Axis::kInput);
  for (const char* name : {"comfyui", "forge"}) {
    EXPECT_THAT(refusal_of(name, narrow), AllOf(HasSubstr("2: "), HasSubstr("one output"))) << name;
  }
  EXPECT_EQ(refusal_of("a1111", narrow), "");
  StoredAdapter plain{.family = ModelFamily::kSd1};
  plain.layers[kLayerQ] = layer_of(layer_cases()[1], 1);
  EXPECT_EQ(refusal_of("stable_diffusion_cpp", plain), "");
  plain.layers[kLayerQ] = layer_of(layer_cases()[3], 1);
  EXPECT_THAT(refusal_of("stable_diffusion_cpp", plain), AllOf(HasSubstr("2: "), HasSubstr("Tucker")));
  plain.layers[kLayerQ] = layer_of(layer_cases()[0], 1, adapter::Axis::kInput);
  EXPECT_THAT(refusal_of("stable_diffusion_cpp", plain), AllOf(HasSubstr("2: "), HasSubstr("merged")));
}

}  // namespace
}  // namespace dormer::interop::kohya_files
