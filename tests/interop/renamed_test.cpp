#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dormer/core/error.hpp"
#include "dormer/interop/consumer.hpp"
#include "interop/layer_names.hpp"
#include "interop/stored_layers.hpp"

namespace dormer::interop {
namespace {

using test::adapter_of;
using test::change;
using test::decomposed;
using test::expect_same;
using test::lora;
using test::normal;
using test::stacked;
using test::usage_error;
using ::testing::AllOf;
using ::testing::HasSubstr;
using Names = std::vector<std::string>;

const Names kSingle{
    "transformer.single_transformer_blocks.7.attn.to_q", "transformer.single_transformer_blocks.7.attn.to_k",
    "transformer.single_transformer_blocks.7.attn.to_v", "transformer.single_transformer_blocks.7.proj_mlp"};
const Names kDouble{"transformer.transformer_blocks.0.attn.to_q", "transformer.transformer_blocks.0.attn.to_k",
                    "transformer.transformer_blocks.0.attn.to_v"};
constexpr const char* kSingleNative = "transformer.single_blocks.7.linear1";
constexpr const char* kDoubleNative = "transformer.double_blocks.0.img_attn.qkv";
constexpr std::int64_t kHidden = 6;

TEST(Renamed, FusedLayersHaveTheSameChange) {
  const std::map<std::string, StoredLayer> layers{{kSingle[0], lora(6, kHidden, 2, 0.5, 1)},
                                                  {kSingle[1], lora(6, kHidden, 3, 2.0, 3)},
                                                  {kSingle[2], lora(6, kHidden, 2, 0.7, 5)},
                                                  {kSingle[3], lora(24, kHidden, 4, 1.0, 7)}};
  const StoredAdapter native = renamed(adapter_of(layers, ModelFamily::kFlux), Naming::kNative);
  ASSERT_EQ(native.layers.size(), 1U);
  const StoredLayer& layer = native.layers.at(kSingleNative);
  EXPECT_EQ(layer.rank, 2 + 3 + 2 + 4);
  EXPECT_DOUBLE_EQ(*layer.alpha / static_cast<double>(layer.rank), layer.scale);
  const std::vector<double> wanted = stacked({change(layers.at(kSingle[0])), change(layers.at(kSingle[1])),
                                              change(layers.at(kSingle[2])), change(layers.at(kSingle[3]))});
  expect_same(change(layer), wanted, 4 * 256 * std::ldexp(1.0, -24));
  // Back: each has its own rank again.
  const StoredAdapter back = renamed(native, Naming::kHuggingFace);
  ASSERT_EQ(back.layers.size(), 4U);
  EXPECT_EQ(back.layers.at(kSingle[1]).rank, 3);
  expect_same(stacked({change(back.layers.at(kSingle[0])), change(back.layers.at(kSingle[1])),
                       change(back.layers.at(kSingle[2])), change(back.layers.at(kSingle[3]))}),
              wanted, 4 * 256 * std::ldexp(1.0, -24));
}

TEST(Renamed, OneScaleStaysAndAlphaGrowsWithTheRank) {
  const StoredAdapter native = renamed(adapter_of({{kDouble[0], lora(6, kHidden, 2, 0.5, 1)},
                                                   {kDouble[1], lora(6, kHidden, 2, 0.5, 3)},
                                                   {kDouble[2], lora(6, kHidden, 2, 0.5, 5)}},
                                                  ModelFamily::kFlux),
                                       Naming::kNative);
  EXPECT_EQ(native.layers.at(kDoubleNative).rank, 6);
  EXPECT_EQ(native.layers.at(kDoubleNative).alpha, 3.0);
  EXPECT_EQ(native.layers.at(kDoubleNative).scale, 0.5);
}

TEST(Renamed, MissingPartsOfPlainLayersAreZero) {
  const StoredLayer value = lora(6, kHidden, 2, 1.5, 1);
  const StoredAdapter native = renamed(adapter_of({{kSingle[2], value}}, ModelFamily::kFlux), Naming::kNative);
  const std::vector<double> square(kHidden * kHidden, 0.0);
  expect_same(change(native.layers.at(kSingleNative)),
              stacked({square, square, change(value), std::vector<double>(4 * kHidden * kHidden, 0.0)}));
  const StoredAdapter back = renamed(native, Naming::kHuggingFace);
  ASSERT_EQ(back.layers.size(), 1U);
  expect_same(change(back.layers.at(kSingle[2])), change(value));
}

TEST(Renamed, SplitLayersShareTheirInputAndCutMagnitudes) {
  StoredLayer whole = decomposed(lora(18, kHidden, 4, 0.5, 1), adapter::Axis::kOutput, 18);
  const StoredAdapter split =
      renamed(adapter_of({{kDoubleNative, whole}}, ModelFamily::kFlux, Naming::kNative), Naming::kHuggingFace);
  std::vector<std::vector<double>> changes;
  std::vector<float> magnitudes;
  for (const std::string& name : kDouble) {
    const StoredLayer& part = split.layers.at(name);
    EXPECT_EQ(part.factors.at("lora_A").values, whole.factors.at("lora_A").values);
    EXPECT_EQ(part.alpha, whole.alpha);
    changes.push_back(change(part));
    magnitudes.insert(magnitudes.end(), part.magnitude.begin(), part.magnitude.end());
  }
  expect_same(stacked(changes), change(whole));
  EXPECT_EQ(magnitudes, whole.magnitude);
  const StoredAdapter back = renamed(split, Naming::kNative);  // one lora_A again, of the same rank
  EXPECT_EQ(back.layers.at(kDoubleNative).rank, 4);
  EXPECT_EQ(back.layers.at(kDoubleNative).magnitude, whole.magnitude);
  expect_same(change(back.layers.at(kDoubleNative)), change(whole));
}

TEST(Renamed, WholeChangesFuseAndSplitByRows) {
  const auto whole = [](std::uint32_t seed) {
    StoredLayer layer{.kind = "diff", .alpha = {}};
    layer.factors["diff"] = normal({6, kHidden}, seed);
    layer.factors["diff_b"] = normal({6}, seed + 1);
    return layer;
  };
  const std::map<std::string, StoredLayer> layers{{kDouble[0], whole(1)}, {kDouble[2], whole(3)}};
  const StoredAdapter native = renamed(adapter_of(layers, ModelFamily::kFlux), Naming::kNative);
  const StoredLayer& layer = native.layers.at(kDoubleNative);
  expect_same(change(layer),
              stacked({change(layers.at(kDouble[0])), std::vector<double>(36, 0.0), change(layers.at(kDouble[2]))}));
  EXPECT_EQ(layer.factors.at("diff_b").shape, std::vector<std::int64_t>{18});
  const StoredAdapter back = renamed(native, Naming::kHuggingFace);
  EXPECT_EQ(back.layers.at(kDouble[2]).factors.at("diff_b").values, layers.at(kDouble[2]).factors.at("diff_b").values);
}

TEST(Renamed, NumberedPartsOfNativeLayersAreTheSplitOnes) {
  const StoredLayer layer = lora(6, kHidden, 2, 1.0, 1);
  const StoredAdapter split =
      renamed(adapter_of({{std::string(kDoubleNative) + ".2", layer}}, ModelFamily::kFlux, Naming::kNative),
              Naming::kHuggingFace);
  EXPECT_TRUE(split.layers.contains(kDouble[2]));
}

TEST(Renamed, FinalLayersSwapTheirHalves) {
  const std::string ours = "transformer.norm_out.linear";
  const std::string native = "transformer.final_layer.adaLN_modulation.1";
  const StoredLayer layer = decomposed(lora(4, 2, 1, 1.0, 1), adapter::Axis::kOutput, 4);
  for (const ModelFamily family : {ModelFamily::kFlux, ModelFamily::kSd3}) {
    const StoredAdapter swapped = renamed(adapter_of({{ours, layer}}, family), Naming::kNative);
    EXPECT_THAT(swapped.layers.at(native).magnitude, ::testing::ElementsAre(3.0F, 4.0F, 1.0F, 2.0F));
    const std::vector<double> rows = change(layer);
    expect_same(change(swapped.layers.at(native)),
                {rows[4], rows[5], rows[6], rows[7], rows[0], rows[1], rows[2], rows[3]});
  }
  const StoredLayer columns = decomposed(lora(4, 2, 1, 1.0, 1), adapter::Axis::kInput, 2);
  EXPECT_EQ(renamed(adapter_of({{ours, columns}}, ModelFamily::kFlux), Naming::kNative).layers.at(native).magnitude,
            columns.magnitude);
  const std::string context = "transformer.transformer_blocks.23.norm1_context.linear";
  const std::string context_native = "transformer.joint_blocks.23.context_block.adaLN_modulation.1";
  for (const std::int64_t out : {4, 12}) {  // the last block's, and another's
    const StoredLayer plain = lora(out, 2, 1, 1.0, 1);
    const StoredAdapter renamed_one = renamed(adapter_of({{context, plain}}, ModelFamily::kSd3), Naming::kNative);
    EXPECT_EQ(change(renamed_one.layers.at(context_native)) == change(plain), out == 12);
  }
}

/// Δ of a LoHa or LoKr, whose rows are swapped inside of their products.
std::vector<double> product_change(const StoredLayer& layer) {
  const auto matrix = [&](const char* a, const char* b) {
    StoredLayer half{.kind = "lora", .rank = layer.factors.at(b).shape[0], .alpha = {}};
    half.factors = {{"lora_A", layer.factors.at(b)}, {"lora_B", layer.factors.at(a)}};
    return change(half);
  };
  std::vector<double> result;
  if (layer.kind == "loha") {
    result = matrix("hada_w1_a", "hada_w1_b");
    const std::vector<double> second = matrix("hada_w2_a", "hada_w2_b");
    std::ranges::transform(result, second, result.begin(), std::multiplies<>());
    return result;
  }
  const StoredArray& small = layer.factors.at("lokr_w1");
  const StoredArray& large = layer.factors.at("lokr_w2");
  for (std::int64_t row = 0; row < small.shape[0] * large.shape[0]; ++row) {
    for (std::int64_t column = 0; column < small.shape[1] * large.shape[1]; ++column) {
      result.push_back(
          static_cast<double>(
              small.values[static_cast<std::size_t>(row / large.shape[0] * small.shape[1] + column / large.shape[1])]) *
          static_cast<double>(
              large.values[static_cast<std::size_t>(row % large.shape[0] * large.shape[1] + column % large.shape[1])]));
    }
  }
  return result;
}

TEST(Renamed, ProductsSwapTheirHalvesToo) {
  StoredLayer loha{.kind = "loha", .rank = 2, .alpha = {}};
  loha.factors = {{"hada_w1_a", normal({4, 2}, 1)},
                  {"hada_w1_b", normal({2, 3}, 2)},
                  {"hada_w2_a", normal({4, 2}, 3)},
                  {"hada_w2_b", normal({2, 3}, 4)}};
  StoredLayer lokr{.kind = "lokr", .alpha = {}};
  lokr.factors = {{"lokr_w1", normal({2, 1}, 1)}, {"lokr_w2", normal({2, 3}, 2)}};
  for (const StoredLayer& layer : {loha, lokr}) {
    const StoredAdapter swapped =
        renamed(adapter_of({{"transformer.norm_out.linear", layer}}, ModelFamily::kFlux), Naming::kNative);
    std::vector<double> wanted = product_change(layer);
    std::ranges::rotate(wanted, wanted.begin() + 6);
    expect_same(product_change(swapped.layers.begin()->second), wanted);
  }
  lokr.factors = {{"lokr_w1", normal({1, 1}, 1)}, {"lokr_w2", normal({4, 3}, 2)}};
  EXPECT_THAT(usage_error([&] {
                (void)renamed(adapter_of({{"transformer.norm_out.linear", lokr}}, ModelFamily::kFlux), Naming::kNative);
              }),
              AllOf(HasSubstr("transformer.norm_out.linear"), HasSubstr("export.for: merged")));
}

TEST(Renamed, WhatNeitherFusesNorSplitsIsRefusedByName) {
  const StoredLayer plain = lora(6, kHidden, 2, 1.0, 1);
  const StoredLayer output = decomposed(plain, adapter::Axis::kOutput, 6);
  const StoredLayer input = decomposed(plain, adapter::Axis::kInput, kHidden);
  StoredLayer loha{.kind = "loha", .rank = 1, .alpha = {}};
  loha.factors = {{"hada_w1_a", normal({6, 1}, 1)},
                  {"hada_w1_b", normal({1, 6}, 2)},
                  {"hada_w2_a", normal({6, 1}, 3)},
                  {"hada_w2_b", normal({1, 6}, 4)}};
  const auto refused = [](std::map<std::string, StoredLayer> layers, Naming from = Naming::kHuggingFace) {
    return usage_error([&] {
      (void)renamed(adapter_of(std::move(layers), ModelFamily::kFlux, from),
                    from == Naming::kNative ? Naming::kHuggingFace : Naming::kNative);
    });
  };
  EXPECT_THAT(refused({{kDouble[0], input}, {kDouble[1], input}, {kDouble[2], input}}),
              AllOf(HasSubstr(kDouble[0]), HasSubstr("input axis"), HasSubstr("export.for: merged")));
  EXPECT_THAT(refused({{kDouble[0], loha}}), AllOf(HasSubstr(kDouble[0]), HasSubstr("loha")));
  EXPECT_THAT(refused({{kDouble[0], output}, {kDouble[2], output}}),
              AllOf(HasSubstr(kDouble[1]), HasSubstr("decomposed")));
  EXPECT_THAT(refused({{kDouble[0], output}, {kDouble[1], plain}, {kDouble[2], output}}), HasSubstr("unlike"));
  EXPECT_THAT(refused({{kDouble[0], plain}, {kDouble[1], lora(5, kHidden, 2, 1.0, 1)}}), HasSubstr(kDouble[1]));
  EXPECT_THAT(refused({{kDoubleNative, loha}}, Naming::kNative), HasSubstr("loha"));
  EXPECT_THAT(refused({{kDoubleNative, input}}, Naming::kNative), HasSubstr("input axis"));
  EXPECT_THAT(refused({{kDoubleNative, lora(16, kHidden, 2, 1.0, 1)}}, Naming::kNative), HasSubstr("another model"));
  EXPECT_THAT(refused({{kSingleNative, lora(18, kHidden, 2, 1.0, 1)}}, Naming::kNative), HasSubstr("another model"));
  EXPECT_THAT(refused({{"transformer.no_such_layer", plain}}), HasSubstr("transformer.no_such_layer"));
}

/// Before a run trains: what the form's names would refuse at its end.
TEST(Renamed, WhatCannotBeFusedIsRefusedBeforeAnythingIsWritten) {
  std::map<std::string, StoredLayer> layers;
  for (const std::string& name : kDouble) {
    layers[name] = decomposed(lora(kHidden, kHidden, 2, 1.0, 21), adapter::Axis::kInput, kHidden);
  }
  const StoredAdapter adapter = adapter_of(layers, ModelFamily::kFlux);
  for (const char* name : {"kohya", "forge"}) {
    EXPECT_THAT(usage_error([&] { require_exact(name, consumer_registry().get("program", name), adapter); }),
                AllOf(HasSubstr("attn.to_q"), HasSubstr("input axis"), HasSubstr("merged")))
        << name;
  }
}

}  // namespace
}  // namespace dormer::interop
