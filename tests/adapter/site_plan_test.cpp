#include "dormer/adapter/site_plan.hpp"

#include <cmath>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"

namespace dormer::adapter {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<Site> sites_of_blocks(std::int64_t blocks) {
  std::vector<Site> sites;
  for (std::int64_t block = 0; block < blocks; ++block) {
    const std::string prefix = "model.layers." + std::to_string(block);
    sites.push_back({prefix + ".self_attn.q_proj", "attention", block, 64, 64, sites.size()});
    sites.push_back({prefix + ".mlp.up_proj", "mlp", block, 96, 64, sites.size()});
  }
  return sites;
}

std::vector<std::size_t> chosen(const AdapterConfig& config) {
  std::vector<std::size_t> indices;
  for (const SitePlan& plan : plan_sites(config, sites_of_blocks(4))) {
    indices.push_back(plan.site);
  }
  return indices;
}

std::string problem_of(const AdapterConfig& config) {
  try {
    static_cast<void>(plan_sites(config, sites_of_blocks(4)));
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kUsage);
    return error.what();
  }
  return "";
}

TEST(PlanSites, LayersAndExcludedPatternsNarrowTheTargets) {
  AdapterConfig config;
  EXPECT_EQ(chosen(config).size(), 8U);
  config.layers = "1-2";
  EXPECT_THAT(chosen(config), ElementsAre(2, 3, 4, 5));
  config.exclude = {"layers.2.*"};
  EXPECT_THAT(chosen(config), ElementsAre(2, 3));
  config.exclude = {"attention"};
  EXPECT_THAT(chosen(config), ElementsAre(3, 5));
}

/// Two blocks with an embedding before them, and a norm and a head after them; the first layer of each has a bias.
std::vector<Site> sites_of_a_model() {
  std::vector<Site> sites = sites_of_blocks(2);
  for (std::size_t i = 0; i < sites.size(); i += 2) {
    sites[i].biased = true;
  }
  const std::size_t count = sites.size();
  sites.push_back({.name = "model.embed_tokens",
                   .group = "embedding",
                   .out = 64,
                   .in = 100,
                   .index = count,
                   .form = LayerForm::kEmbedding});
  sites.push_back(
      {.name = "model.norm", .group = "norm", .out = 64, .in = 1, .index = count + 1, .form = LayerForm::kNorm});
  sites.push_back(
      {.name = "lm_head", .group = "head", .out = 100, .in = 64, .index = count + 2, .form = LayerForm::kHead});
  return sites;
}

std::vector<std::string> plans_of(const AdapterConfig& config) {
  std::vector<std::string> texts;
  for (const SitePlan& plan : plan_sites(config, sites_of_a_model())) {
    texts.push_back(std::to_string(plan.site) + " " + plan.kind + (plan.bias ? " and its bias" : ""));
  }
  return texts;
}

TEST(PlanSites, WhatIsInNoBlockIsChosenByItsNameAndWhateverLayersSays) {
  AdapterConfig config;
  config.targets = {"all-linear"};
  EXPECT_THAT(plans_of(config), ElementsAre("0 lora", "1 lora", "2 lora", "3 lora"));
  config.targets = {"full"};
  EXPECT_EQ(plans_of(config).size(), 4U);
  config.targets = {"all-linear", "embed_tokens", "*norm", "lm_head"};
  config.layers = "1";
  config.overrides = {{.match = "*norm", .kind = "full"}, {.match = "lm_head", .kind = "full"}};
  EXPECT_THAT(plans_of(config), ElementsAre("2 lora", "3 lora", "4 lora", "5 full", "6 full"));
  config.overrides.pop_back();
  try {
    static_cast<void>(plans_of(config));
    FAIL() << "a head has no low-rank form";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("lm_head, which is a head"));
  }
}

TEST(PlanSites, BiasesTrainBesideAnAdapterOrAlone) {
  AdapterConfig config;
  config.targets = {"up_proj", "layers.0.self_attn.q_proj"};
  config.bias = "adapter_only";
  EXPECT_THAT(plans_of(config), ElementsAre("0 lora and its bias", "1 lora", "3 lora"));
  config.bias = "all";
  EXPECT_THAT(plans_of(config), ElementsAre("0 lora and its bias", "1 lora", "2 bias and its bias", "3 lora"));
  config.bias = "adapter_only";
  config.targets = {"up_proj"};
  try {
    static_cast<void>(plans_of(config));
    FAIL() << "no adapted layer has a bias";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("no layer that gets an adapter has one"));
  }
}

TEST(PlanSites, OverridesOfSeveralPatternsAddUp) {
  AdapterConfig config;
  config.rank = 16;
  config.dropout = 0.1;
  config.alpha.text = "2*rank";
  config.rank_dropout = 0.2;
  config.module_dropout = 0.3;
  config.overrides = {{.match = "mlp", .rank = 8, .dropout = 0.2, .rank_dropout = 0.0, .module_dropout = 0.0},
                      {.match = "layers.3.*", .learning_rate = 1e-3, .stop_after = 7},
                      {.match = "layers.0.self_attn.*", .rank = 4, .alpha = {"rank/2"}},
                      {.match = "layers.2.mlp.up_proj", .rank = 8}};
  const std::vector<SitePlan> plans = plan_sites(config, sites_of_blocks(4));
  EXPECT_EQ(plans[0].rank, 4);
  EXPECT_EQ(plans[0].alpha, 2.0);
  EXPECT_EQ(plans[0].dropout, 0.1);
  EXPECT_EQ(plans[0].rank_dropout, 0.2);
  EXPECT_EQ(plans[0].module_dropout, 0.3);
  EXPECT_EQ(plans[1].rank, 8);
  EXPECT_EQ(plans[1].alpha, 16.0) << "the expression follows the rank";
  EXPECT_EQ(plans[1].scale, 2.0);
  EXPECT_EQ(plans[1].dropout, 0.2);
  EXPECT_TRUE(plans[0].drops_parts() && !plans[1].drops_parts());
  EXPECT_FALSE(plans[1].learning_rate || plans[1].stop_after);
  EXPECT_EQ(plans[7].rank, 8);
  EXPECT_EQ(plans[7].learning_rate, 1e-3);
  EXPECT_EQ(plans[7].stop_after, 7);
}

TEST(PlanSites, OverridesThatContradictEachOtherAreRefused) {
  const auto problem = [](const OverrideConfig& first, const OverrideConfig& second) {
    AdapterConfig config;
    config.overrides = {first, second};
    return problem_of(config);
  };
  EXPECT_THAT(
      problem({.match = "mlp", .rank = 8}, {.match = "layers.3.*", .rank = 4}),
      HasSubstr("'mlp' and 'layers.3.*' contradict each other: both match model.layers.3.mlp.up_proj, with rank "
                "8 and 4"));
  EXPECT_THAT(problem({.match = "mlp", .alpha = {"8"}}, {.match = "up_proj", .alpha = {"rank"}}),
              HasSubstr("with alpha 8 and rank"));
  EXPECT_THAT(problem({.match = "mlp", .dropout = 0.1}, {.match = "up_proj", .dropout = 0.0}),
              HasSubstr("with dropout 0.1 and 0"));
  EXPECT_THAT(problem({.match = "mlp", .module_dropout = 0.1}, {.match = "up_proj", .module_dropout = 0.0}),
              HasSubstr("with module_dropout 0.1 and 0"));
  EXPECT_THAT(problem({.match = "mlp", .kind = "full"}, {.match = "up_proj", .rank_dropout = 0.1}),
              HasSubstr("'up_proj' gives model.layers.0.mlp.up_proj a rank_dropout, but its kind is full"));
  EXPECT_THAT(problem({.match = "mlp", .stop_after = 2}, {.match = "up_proj", .stop_after = 3}),
              HasSubstr("with stop_after 2 and 3"));
  EXPECT_THAT(problem({.match = "mlp", .kind = "full"}, {.match = "up_proj", .kind = "lora"}),
              HasSubstr("with kind full and lora"));
  EXPECT_THAT(problem({.match = "mlp", .kind = "full"}, {.match = "up_proj", .rank = 4}),
              HasSubstr("'up_proj' gives model.layers.0.mlp.up_proj a rank, but its kind is full"));
  EXPECT_EQ(problem({.match = "mlp", .rank = 8}, {.match = "layers.3.*", .rank = 8}), "");
}

TEST(PlanSites, WholeWeightsHaveNoRankNoDropoutAndNoMagnitudes) {
  AdapterConfig config;
  config.dropout = 0.1;
  config.decompose.emplace();
  config.rank = 16;
  config.overrides = {{.match = "mlp", .kind = "full"}};
  const std::vector<SitePlan> plans = plan_sites(config, sites_of_blocks(1));
  EXPECT_TRUE(plans[0].decompose && !plans[0].whole && plans[0].dropout == 0.1);
  EXPECT_TRUE(plans[1].whole && !plans[1].decompose && plans[1].dropout == 0.0 && plans[1].rank == 0);
  config.kind = "full";
  EXPECT_THAT(problem_of(config), HasSubstr("nothing to decompose"));
  config.decompose.reset();
  EXPECT_THAT(problem_of(config), HasSubstr("adapter.dropout: kind: full has none"));
  config.dropout = 0.0;
  config.module_dropout = 0.1;
  EXPECT_THAT(problem_of(config), HasSubstr("adapter.module_dropout: kind: full has none; take module_dropout away"));
  config.module_dropout = 0.0;
  config.rank_dropout = 0.1;
  EXPECT_THAT(problem_of(config), HasSubstr("adapter.rank_dropout: kind: full has none"));
}

TEST(PlanSites, AScaleOfRowsThatAreNotDroppedIsRefused) {
  AdapterConfig config;
  config.rank_dropout_scale = true;
  EXPECT_THAT(problem_of(config), HasSubstr("adapter.rank_dropout_scale: no rank_dropout is above 0"));
  config.overrides = {{.match = "mlp", .rank_dropout = 0.1}};
  EXPECT_EQ(problem_of(config), "");
}

TEST(PlanSites, StabilizedRanksDivideByTheRoot) {
  AdapterConfig config;
  config.rank = 16;
  config.alpha.text = "12";
  config.rank_stabilized = true;
  EXPECT_EQ(plan_sites(config, sites_of_blocks(1))[0].scale, 3.0);
  EXPECT_EQ(config.scale(), 3.0);
}

TEST(PlanSites, WhatChoosesNothingOrCannotBeIsNamed) {
  AdapterConfig config;
  config.exclude = {"q_porj"};
  EXPECT_THAT(problem_of(config), HasSubstr("adapter.exclude: 'q_porj' matches no layer"));
  config.exclude = {"all-linear"};
  EXPECT_THAT(problem_of(config), HasSubstr("leave no layer to train"));
  config.exclude = {};
  config.layers = "2-4";
  EXPECT_THAT(problem_of(config), HasSubstr("names block 4, but the model's last block is 3"));
  config.layers.reset();
  config.targets = {"attention"};
  config.overrides = {{.match = "up_proj", .rank = 8}};
  EXPECT_THAT(problem_of(config), HasSubstr("'up_proj' matches only layers that get no adapter"));
  config.overrides = {{.match = "q_proj", .rank = 65}};
  EXPECT_THAT(problem_of(config), HasSubstr("rank 65, model.layers.0.self_attn.q_proj is 64 x 64"));
  config.targets = {};
  EXPECT_THAT(problem_of(config), HasSubstr("adapter.targets is empty"));
}

TEST(ParseLayers, TakesNumbersAndRanges) {
  EXPECT_THAT(parse_layers("8-10"), ElementsAre(8, 9, 10));
  EXPECT_THAT(parse_layers("4-5,0,2,5"), ElementsAre(0, 2, 4, 5));
  for (const char* bad : {"", "a", "1-", "-1", "3-1", "1,", "1;2", "1 2", "0-99999999"}) {
    EXPECT_THROW(static_cast<void>(parse_layers(bad)), Error) << bad;
  }
}

}  // namespace
}  // namespace dormer::adapter
