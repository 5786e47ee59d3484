#include "dormer/interop/diffusers.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "dormer/core/error.hpp"
#include "dormer/storage/safetensors.hpp"
#include "interop/made_layers.hpp"
#include "support/temp_directory.hpp"

namespace dormer::interop {
namespace {

using test::array;
using test::layer_of;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kQuery = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q";
constexpr const char* kValue = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_v";
constexpr const char* kConvolution = "unet.down_blocks.0.resnets.0.conv1";
constexpr const char* kText = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj";

StoredLayer lora(std::int64_t rank, double alpha, std::optional<adapter::Axis> axis = {}) {
  return layer_of("x", {{"lora_A", array({rank, 5}, 1)}, {"lora_B", array({6, rank}, 2)}}, alpha, axis,
                  axis == adapter::Axis::kInput ? 5 : 6);
}

class Diffusers : public ::testing::Test {
 protected:
  void write(const StoredAdapter& adapter) const { write_diffusers(adapter, file_, {.base = base_}); }
  void write_raw(const std::vector<std::pair<std::string, StoredArray>>& arrays,
                 const storage::Metadata& metadata = {}) const {
    ArrayList list;
    for (const auto& [name, values] : arrays) {
      list.add(name, values, DType::kF32);
    }
    storage::write_safetensors(file_, list.arrays(), metadata);
  }
  template <typename Function>
  static std::string message_of(const Function& function) {
    try {
      function();
    } catch (const Error& error) {
      return fmt::format("{}: {}", error.exit_code(), error.what());
    }
    return "";
  }
  [[nodiscard]] std::string reading() const {
    return message_of([&] { (void)read_diffusers(file_); });
  }
  BaseFacts base_;
  test::TempDirectory folder_;
  std::filesystem::path file_ = folder_.path() / kDiffusersFile;
};

TEST_F(Diffusers, ScalesAreFoldedIntoLoraBAndTheMetadataSaysSo) {
  StoredAdapter adapter;
  adapter.layers = {{kQuery, lora(2, 1.0)}, {kValue, lora(2, 4.0)}, {kText, lora(4, 8.0)}};
  adapter.layers[kConvolution] = layer_of("x", {{"lora_A", array({3, 4, 3, 3}, 1)}, {"lora_B", array({6, 3}, 2)}}, 1.5);
  write(adapter);
  const auto file = storage::SafetensorsFile::open(file_);
  EXPECT_EQ(file->metadata().at("format"), "pt");
  EXPECT_THAT(file->find(std::string(kConvolution) + ".lora_B.weight")->shape, ElementsAre(6, 3, 1, 1));
  const nlohmann::json root = nlohmann::json::parse(file->metadata().at("lora_adapter_metadata"));
  EXPECT_EQ(root.at("unet.r"), 2);
  EXPECT_EQ(root.at("unet.lora_alpha"), 2);
  EXPECT_EQ(root.at("unet.rank_pattern"), nlohmann::json({{"^down_blocks.0.resnets.0.conv1", 3}}));
  EXPECT_EQ(root.at("unet.alpha_pattern"), root.at("unet.rank_pattern"));
  EXPECT_EQ(root.at("text_encoder.r"), 4);
  EXPECT_EQ(root.at("text_encoder.target_modules"), nlohmann::json({"encoder.layers.0.self_attn.q_proj"}))
      << "an end that CLIP's layers have in old and new versions of transformers";
  const StoredAdapter back = read_diffusers(folder_.path());
  ASSERT_EQ(back.layers.size(), 4U);
  for (const auto& [name, layer] : adapter.layers) {
    const StoredLayer& other = back.layers.at(name);
    EXPECT_EQ(other.scale, 1.0);
    EXPECT_EQ(other.factors.at("lora_A").values, layer.factors.at("lora_A").values);
    for (std::size_t i = 0; i < layer.factors.at("lora_B").values.size(); ++i) {  // powers of two: exact
      EXPECT_EQ(other.factors.at("lora_B").values[i],
                static_cast<float>(layer.scale) * layer.factors.at("lora_B").values[i]);
    }
  }
}

TEST_F(Diffusers, WithoutMetadataEveryAlphaIsTheRankAndWithItTheConfigurationCounts) {
  const std::vector<std::pair<std::string, StoredArray>> arrays{
      {std::string(kQuery) + ".lora_A.weight", array({2, 5}, 1)},
      {std::string(kQuery) + ".lora_B.weight", array({6, 2}, 2)}};
  write_raw(arrays);
  EXPECT_EQ(read_diffusers(file_).layers.at(kQuery).scale, 1.0);
  write_raw(arrays, {{"lora_adapter_metadata", R"({"unet.r": 2, "unet.lora_alpha": 3, "unet.use_dora": false})"}});
  EXPECT_EQ(read_diffusers(file_).layers.at(kQuery).scale, 1.5);
  write_raw(arrays, {{"lora_adapter_metadata", R"({"unet.r": 4, "unet.lora_alpha": 3})"}});
  EXPECT_THAT(reading(), AllOf(HasSubstr("3: "), HasSubstr("has the rank 2"), HasSubstr("says 4")));
  write_raw(arrays, {{"lora_adapter_metadata", R"({"unet.r": 2, "unet.lora_alpha": 3, "unet.use_dora": true})"}});
  EXPECT_THAT(reading(), AllOf(HasSubstr("3: "), HasSubstr("use_dora")));
  write_raw(arrays, {{"lora_adapter_metadata", R"({"text_encoder.r": 2})"}});
  EXPECT_THAT(reading(), HasSubstr("says nothing of unet"));
}

TEST_F(Diffusers, OlderSpellingsAreTheSameLayers) {
  const std::string block = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.";
  write_raw({{block + "processor.to_q_lora.down.weight", array({2, 5}, 1)},
             {block + "processor.to_q_lora.up.weight", array({6, 2}, 2)},
             {block + "processor.to_out_lora.down.weight", array({2, 5}, 3)},
             {block + "processor.to_out_lora.up.weight", array({6, 2}, 4)},
             {block + "to_v.lora.down.weight", array({2, 5}, 5)},
             {block + "to_v.lora.up.weight", array({6, 2}, 6)},
             {std::string(kText) + ".lora_linear_layer.down.weight", array({2, 5}, 7)},
             {std::string(kText) + ".lora_linear_layer.up.weight", array({6, 2}, 8)}});
  const StoredAdapter adapter = read_diffusers(file_);
  std::vector<std::string> names;
  for (const auto& entry : adapter.layers) {
    names.push_back(entry.first);
  }
  EXPECT_THAT(names, ElementsAre(kText, block + "to_out.0", kQuery, kValue));
  EXPECT_EQ(adapter.layers.at(block + "to_out.0").factors.at("lora_B").values, array({6, 2}, 4).values);
}

TEST_F(Diffusers, WhatDiffusersWouldNotComputeIsNamed) {
  const std::string query(kQuery);
  const std::vector<std::pair<std::string, StoredArray>> arrays{{query + ".lora_A.weight", array({2, 5}, 1)},
                                                                {query + ".lora_B.weight", array({6, 2}, 2)}};
  auto with = arrays;
  with.emplace_back(query + ".alpha", array({}, 1));
  write_raw(with);
  EXPECT_THAT(reading(), AllOf(HasSubstr("3: "), HasSubstr("to_q.alpha"), HasSubstr("no one meaning")));
  with.back() = {query + ".hada_w1_a", array({6, 2}, 1)};
  write_raw(with);
  EXPECT_THAT(reading(), HasSubstr("hada_w1_a"));
  EXPECT_THAT(read_diffusers(file_, {.allow_partial = true}).left_out, ElementsAre(query + ".hada_w1_a"));
  with.back() = {query + ".dora_scale", array({1, 5}, 1)};
  write_raw(with);
  const StoredAdapter trap = read_diffusers(file_);
  EXPECT_EQ(trap.layers.at(kQuery).axis, adapter::Axis::kInput);
  EXPECT_THAT(trap.warnings, ElementsAre(HasSubstr("drops")));
  with.back() = {query + ".lora_magnitude_vector", array({6}, 1)};
  with.emplace_back(std::string(kValue) + ".lora_A.weight", array({2, 5}, 1));
  with.emplace_back(std::string(kValue) + ".lora_B.weight", array({6, 2}, 2));
  write_raw(with);
  EXPECT_THAT(reading(), HasSubstr("magnitudes for some layers of unet"));
}

TEST_F(Diffusers, WhatTheFileCannotHoldIsRefusedWithAWayOut) {
  const auto refusal = [&](const std::map<std::string, StoredLayer>& layers) {
    StoredAdapter adapter;
    adapter.layers = layers;
    return message_of([&] { write(adapter); });
  };
  const StoredLayer loha = layer_of("x",
                                    {{"hada_w1_a", array({6, 2}, 1)},
                                     {"hada_w1_b", array({2, 5}, 2)},
                                     {"hada_w2_a", array({6, 2}, 3)},
                                     {"hada_w2_b", array({2, 5}, 4)}},
                                    3.0);
  const StoredLayer tucker = layer_of(
      "x", {{"lora_A", array({2, 5}, 1)}, {"lora_B", array({6, 2}, 2)}, {"lora_mid", array({2, 2, 3, 3}, 3)}}, 2.0);
  EXPECT_THAT(refusal({{kQuery, loha}}), AllOf(HasSubstr("2: "), HasSubstr("loha"), HasSubstr("kohya")));
  EXPECT_THAT(refusal({{kConvolution, tucker}}), AllOf(HasSubstr("Tucker"), HasSubstr("kohya")));
  EXPECT_THAT(refusal({{kQuery, lora(2, 2.0, adapter::Axis::kInput)}}),
              AllOf(HasSubstr("input channels"), HasSubstr("axis: output")));
  EXPECT_THAT(refusal({{kQuery, lora(2, 2.0)}, {kValue, lora(2, 2.0, adapter::Axis::kOutput)}}),
              AllOf(HasSubstr("unet"), HasSubstr("unlike")));
  EXPECT_EQ(refusal({{kText, lora(2, 2.0)}, {kValue, lora(2, 2.0, adapter::Axis::kOutput)}}), "");
  EXPECT_THAT(refusal({{"model.layers.0.q_proj", lora(2, 2.0)}}), HasSubstr("peft"));
}

}  // namespace
}  // namespace dormer::interop
