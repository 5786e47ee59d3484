// PEFT folders of adapters that no language model here trains: convolutions, embeddings, LoHa, LoKr.
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/interop/consumer.hpp"
#include "dormer/interop/peft.hpp"
#include "dormer/storage/safetensors.hpp"
#include "interop/made_layers.hpp"
#include "interop/peft_kronecker.hpp"
#include "interop/peft_numbers.hpp"
#include "support/temp_directory.hpp"

namespace dormer::interop {
namespace {

using test::array;
using test::layer_of;
using ::testing::AllOf;
using ::testing::HasSubstr;

class PeftForms : public ::testing::Test {
 protected:
  [[nodiscard]] StoredAdapter round_trip(const StoredAdapter& adapter) const {
    write_peft(adapter, target_, {.base = base_});
    return read_peft(target_);
  }
  [[nodiscard]] nlohmann::json config() const {
    return nlohmann::json::parse(read_file(target_ / "adapter_config.json", "config"));
  }
  [[nodiscard]] std::vector<std::int64_t> shape_in_file(const std::string& name) const {
    const auto file = storage::SafetensorsFile::open(target_ / "adapter_model.safetensors");
    const storage::TensorEntry* entry = file->find("base_model.model." + name);
    return entry == nullptr ? std::vector<std::int64_t>{} : entry->shape;
  }
  [[nodiscard]] std::string refusal(const StoredAdapter& adapter) const {
    try {
      write_peft(adapter, target_, {.base = base_});
    } catch (const Error& error) {
      return fmt::format("{}: {}", error.exit_code(), error.what());
    }
    return "";
  }
  BaseFacts base_;
  test::TempDirectory folder_;
  std::filesystem::path target_ = folder_.path() / "peft";
};

void expect_same(const StoredAdapter& ours, const StoredAdapter& back) {
  ASSERT_EQ(ours.layers.size(), back.layers.size());
  for (const auto& [name, layer] : ours.layers) {
    const StoredLayer& other = back.layers.at(name);
    EXPECT_EQ(layer.kind, other.kind) << name;
    EXPECT_EQ(layer.rank, other.rank) << name;
    EXPECT_DOUBLE_EQ(layer.scale, other.scale) << name;
    EXPECT_EQ(layer.axis, other.axis) << name;
    EXPECT_EQ(layer.magnitude, other.magnitude) << name;
    for (const auto& [factor, values] : layer.factors) {
      EXPECT_EQ(values.shape, other.factors.at(factor).shape) << name << " " << factor;
      EXPECT_EQ(values.values, other.factors.at(factor).values) << name << " " << factor;
    }
  }
}

TEST_F(PeftForms, ConvolutionsAndEmbeddingsHaveTheShapesOfPeft) {
  StoredAdapter adapter;
  adapter.layers["conv"] = layer_of("conv", {{"lora_A", array({3, 4, 3, 3}, 1)}, {"lora_B", array({6, 3}, 2)}}, 6.0,
                                    adapter::Axis::kOutput, 6);
  adapter.layers["point"] = layer_of("point", {{"lora_A", array({3, 4, 1, 1}, 3)}, {"lora_B", array({5, 3}, 4)}}, 3.0,
                                     adapter::Axis::kOutput, 5);
  adapter.layers["table"] =
      layer_of("table", {{"lora_embedding_A", array({3, 11}, 5)}, {"lora_embedding_B", array({8, 3}, 6)}}, 1.5,
               adapter::Axis::kOutput, 8);
  expect_same(adapter, round_trip(adapter));
  EXPECT_THAT(shape_in_file("conv.lora_B.weight"), ::testing::ElementsAre(6, 3, 1, 1));
  EXPECT_THAT(shape_in_file("conv.lora_magnitude_vector"), ::testing::ElementsAre(1, 6, 1, 1));
  EXPECT_THAT(shape_in_file("table.lora_embedding_B"), ::testing::ElementsAre(8, 3));
  EXPECT_THAT(shape_in_file("table.lora_magnitude_vector"), ::testing::ElementsAre(8));
  EXPECT_TRUE(config().at("use_dora").get<bool>());
  EXPECT_EQ(config().at("task_type"), nullptr);
}

TEST_F(PeftForms, LohaAndItsTuckerFormAreOneConfiguration) {
  StoredAdapter adapter;
  adapter.layers["linear"] = layer_of("linear",
                                      {{"hada_w1_a", array({6, 2}, 1)},
                                       {"hada_w1_b", array({2, 5}, 2)},
                                       {"hada_w2_a", array({6, 2}, 3)},
                                       {"hada_w2_b", array({2, 5}, 4)}},
                                      3.0);
  adapter.layers["sequence"] = layer_of("sequence",
                                        {{"hada_t1", array({2, 2, 3}, 5)},
                                         {"hada_t2", array({2, 2, 3}, 6)},
                                         {"hada_w1_a", array({2, 6}, 7)},
                                         {"hada_w1_b", array({2, 4}, 8)},
                                         {"hada_w2_a", array({2, 6}, 9)},
                                         {"hada_w2_b", array({2, 4}, 10)}},
                                        1.0);
  expect_same(adapter, round_trip(adapter));
  EXPECT_EQ(config().at("peft_type"), "LOHA");
  EXPECT_TRUE(config().at("use_effective_conv2d").get<bool>());
  EXPECT_FALSE(config().contains("lora_alpha"));
  EXPECT_THAT(shape_in_file("sequence.hada_t1"), ::testing::ElementsAre(2, 2, 3, 1));
}

TEST_F(PeftForms, WholeLokrFactorsGetARankThatKeepsThemWholeAndTheScaleInOneOfThem) {
  StoredAdapter adapter;
  StoredLayer& layer = adapter.layers["linear"] =
      layer_of("linear", {{"lokr_w1", array({3, 3}, 1)}, {"lokr_w2", array({4, 6}, 2)}}, 1.0);
  layer.scale = 0.5;  // a power of two, so that folding is exact
  const StoredAdapter back = round_trip(adapter);
  EXPECT_EQ(config().at("r"), config().at("alpha"));
  EXPECT_GE(2 * config().at("r").get<int>(), 9);
  EXPECT_EQ(back.layers.at("linear").scale, 1.0);
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(back.layers.at("linear").factors.at("lokr_w1").values[i], 0.5F * layer.factors.at("lokr_w1").values[i]);
  }
}

TEST_F(PeftForms, AWholeLokrOfAnotherScaleIsReadAtTheScaleThatPeftGivesIt) {
  StoredAdapter adapter;
  adapter.layers["linear"] = layer_of("linear", {{"lokr_w1", array({3, 3}, 1)}, {"lokr_w2", array({4, 6}, 2)}}, 1.0);
  write_peft(adapter, target_, {.base = base_});
  nlohmann::json changed = config();
  changed["alpha"] = 4 * changed["r"].get<int>();
  write_file_atomically(target_ / "adapter_config.json", changed.dump());
  EXPECT_EQ(read_peft(target_).layers.at("linear").factors.at("lokr_w1").values[1],
            4.0F * adapter.layers.at("linear").factors.at("lokr_w1").values[1]);
}

// Values by hand from the rule in PEFT's tuners/lokr/layer.py; tests/peers compares with PEFT itself.
TEST(PeftKronecker, WidthsAreSplitAsPeftSplitsThem) {
  EXPECT_EQ(peft_factorization(128, -1), (std::pair<std::int64_t, std::int64_t>(8, 16)));
  EXPECT_EQ(peft_factorization(127, -1), (std::pair<std::int64_t, std::int64_t>(1, 127)));
  EXPECT_EQ(peft_factorization(64, 16), (std::pair<std::int64_t, std::int64_t>(16, 4))) << "unsorted where it divides";
  EXPECT_EQ(peft_factorization(250, 16), (std::pair<std::int64_t, std::int64_t>(10, 25)));
  EXPECT_EQ(peft_factorization(12, 5), (std::pair<std::int64_t, std::int64_t>(3, 4)));
}

TEST_F(PeftForms, ADecomposeFactorIsFoundFromWhichPeftBuildsTheShapes) {
  StoredAdapter adapter;  // 24 x 30 as (4, 6) x (3, 10): 4 divides 24; of 30 only 3 is the largest divisor up to 4
  adapter.layers["a"] = layer_of(
      "a", {{"lokr_w1", array({4, 3}, 1)}, {"lokr_w2_a", array({6, 2}, 2)}, {"lokr_w2_b", array({2, 10}, 3)}}, 2.0);
  expect_same(adapter, round_trip(adapter));
  EXPECT_EQ(config().at("decompose_factor"), 4);
  EXPECT_FALSE(config().at("decompose_both").get<bool>());
  adapter.layers["b"] = layer_of(
      "b", {{"lokr_w1", array({6, 3}, 1)}, {"lokr_w2_a", array({7, 2}, 2)}, {"lokr_w2_b", array({2, 10}, 3)}}, 2.0);
  EXPECT_THAT(refusal(adapter), AllOf(HasSubstr("2: "), HasSubstr("decompose_factor"), HasSubstr("merge")));
}

TEST_F(PeftForms, WhatPeftCannotSayIsRefusedWithAWayOut) {
  const StoredLayer lora = layer_of("x", {{"lora_A", array({2, 5}, 1)}, {"lora_B", array({6, 2}, 2)}}, 2.0);
  const auto with = [&](const std::map<std::string, StoredLayer>& layers) {
    StoredAdapter adapter;
    adapter.layers = layers;
    return refusal(adapter);
  };
  const StoredLayer dora =
      layer_of("x", {{"lora_A", array({2, 5}, 1)}, {"lora_B", array({6, 2}, 2)}}, 2.0, adapter::Axis::kOutput, 6);
  const StoredLayer columns =
      layer_of("x", {{"lora_A", array({2, 5}, 1)}, {"lora_B", array({6, 2}, 2)}}, 2.0, adapter::Axis::kInput, 5);
  const StoredLayer tucker = layer_of(
      "x", {{"lora_A", array({2, 5}, 1)}, {"lora_B", array({6, 2}, 2)}, {"lora_mid", array({2, 2, 3, 3}, 3)}}, 2.0);
  const StoredLayer low = layer_of(  // rank 2 is half of 4 already
      "x", {{"lokr_w1", array({2, 2}, 1)}, {"lokr_w2_a", array({4, 2}, 2)}, {"lokr_w2_b", array({2, 4}, 3)}}, 2.0);
  const StoredLayer sequence = layer_of("x", {{"lokr_w1", array({2, 2}, 1)}, {"lokr_w2", array({4, 4, 3}, 2)}}, 1.0);
  const StoredLayer difference = layer_of("x", {{"diff", array({3, 4}, 1)}}, 1.0);
  EXPECT_EQ(with({{"a", lora}}), "");
  EXPECT_THAT(with({{"a", lora}, {"b", dora}}), AllOf(HasSubstr("2: "), HasSubstr("use_dora"), HasSubstr("'a'")));
  EXPECT_THAT(with({{"a", columns}}), AllOf(HasSubstr("input channels"), HasSubstr("axis: output")));
  EXPECT_THAT(with({{"a", tucker}}), AllOf(HasSubstr("Tucker"), HasSubstr("merge")));
  EXPECT_THAT(with({{"a", low}}), AllOf(HasSubstr("lokr_w2"), HasSubstr("whole"), HasSubstr("merge")));
  EXPECT_THAT(with({{"a", sequence}}), AllOf(HasSubstr("one-dimensional"), HasSubstr("merge")));
  EXPECT_THAT(with({{"a", lora}, {"b", low}}), AllOf(HasSubstr("one kind"), HasSubstr("lokr")));
  EXPECT_THAT(with({{"a", difference}}), HasSubstr("difference"));
}

TEST_F(PeftForms, ScalesAreWrittenAsTheyWereConfigured) {
  const auto lora = [](std::int64_t rank, double alpha, double scale) {
    StoredLayer layer = layer_of("x", {{"lora_A", array({rank, 5}, 1)}, {"lora_B", array({6, rank}, 2)}}, alpha);
    layer.scale = scale;
    return layer;
  };
  StoredAdapter adapter;
  adapter.layers = {{"a", lora(9, 6.0, 2.0)}, {"b", lora(4, 6.0, 3.0)}, {"c", lora(9, 6.0, 2.0)}};
  expect_same(adapter, round_trip(adapter));
  EXPECT_TRUE(config().at("use_rslora").get<bool>());
  EXPECT_EQ(config().at("lora_alpha"), 6);
  EXPECT_EQ(config().at("r"), 9);
  EXPECT_EQ(config().at("rank_pattern"), nlohmann::json({{"b", 4}}));
  EXPECT_TRUE(config().at("alpha_pattern").empty());

  adapter.layers.at("b").scale = 1.5;  // alpha / rank
  expect_same(adapter, round_trip(adapter));
  EXPECT_FALSE(config().at("use_rslora").get<bool>());
  EXPECT_EQ(config().at("lora_alpha"), 18);
  EXPECT_EQ(config().at("alpha_pattern"), nlohmann::json({{"b", 6}}));
}

TEST_F(PeftForms, PatternsAreAnchoredWhereOneNameEndsAnother) {
  const auto lora = [](std::int64_t rank) {
    return layer_of("x", {{"lora_A", array({rank, 5}, 1)}, {"lora_B", array({6, rank}, 2)}}, 2.0);
  };
  StoredAdapter adapter;
  adapter.layers = {{"proj", lora(3)}, {"a.proj", lora(2)}, {"b.proj", lora(2)}};
  expect_same(adapter, round_trip(adapter));
  EXPECT_EQ(config().at("rank_pattern"), nlohmann::json({{"^proj", 3}}));
}

TEST_F(PeftForms, ServersAreOfferedOnlyWhatTheyCompute) {
  const auto refusal_of = [](const char* name, const StoredAdapter& adapter) -> std::string {
    try {
      require_exact(name, consumer_registry().get("export.for", name), adapter);
    } catch (const Error& error) {
      return fmt::format("{}: {}", error.exit_code(), error.what());
    }
    return "";
  };
  const auto lora = [](std::int64_t rank, double alpha) {
    return layer_of("x", {{"lora_A", array({rank, 5}, 1)}, {"lora_B", array({6, rank}, 2)}}, alpha);
  };
  StoredAdapter adapter;
  adapter.family = ModelFamily::kLanguage;
  adapter.layers = {{"model.layers.0.q_proj", lora(4, 8.0)}, {"model.layers.1.q_proj", lora(4, 8.0)}};
  for (const char* name : {"vllm", "llama_cpp", "tensorrt_llm", "peft"}) {
    EXPECT_EQ(refusal_of(name, adapter), "") << name;
  }
  StoredAdapter stabilized = adapter;
  for (auto& [name, layer] : stabilized.layers) {
    layer.scale = 4.0;
  }
  EXPECT_EQ(refusal_of("vllm", stabilized), "");
  EXPECT_EQ(refusal_of("tensorrt_llm", stabilized), "");
  EXPECT_THAT(refusal_of("llama_cpp", stabilized), AllOf(HasSubstr("sqrt(rank)"), HasSubstr("merged")));
  StoredAdapter ranks = adapter;  // one scale of 2
  ranks.layers["model.layers.0.q_proj"] = lora(2, 4.0);
  EXPECT_EQ(refusal_of("vllm", ranks), "");
  EXPECT_THAT(refusal_of("llama_cpp", ranks), AllOf(HasSubstr("one alpha"), HasSubstr("merged")));
  StoredAdapter alphas = adapter;  // one alpha of 8
  alphas.layers["model.layers.0.q_proj"] = lora(2, 8.0);
  EXPECT_EQ(refusal_of("llama_cpp", alphas), "");
  EXPECT_THAT(refusal_of("vllm", alphas), AllOf(HasSubstr("alike"), HasSubstr("merged")));
  StoredAdapter wide = adapter;
  wide.layers["model.layers.0.q_proj"] = lora(513, 1026.0);
  EXPECT_THAT(refusal_of("vllm", wide), HasSubstr("512"));
  StoredAdapter head = adapter;
  head.layers["lm_head"] = lora(4, 8.0);
  EXPECT_EQ(refusal_of("vllm", head), "");
  EXPECT_THAT(refusal_of("tensorrt_llm", head), HasSubstr("'lm_head'"));
  StoredAdapter dora = adapter;
  dora.layers["model.layers.0.q_proj"].axis = adapter::Axis::kOutput;
  dora.layers["model.layers.0.q_proj"].magnitude.assign(6, 1.0F);
  for (const char* name : {"vllm", "llama_cpp", "tensorrt_llm"}) {
    EXPECT_THAT(refusal_of(name, dora), AllOf(HasSubstr("2: "), HasSubstr("output axis"))) << name;
  }
}

}  // namespace
}  // namespace dormer::interop
