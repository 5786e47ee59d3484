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

TEST(PlanSites, OverridesGiveRankAlphaAndRateAndTheLaterOneCounts) {
  AdapterConfig config;
  config.rank = 16;
  config.alpha.text = "2*rank";
  config.overrides = {{.match = "mlp", .rank = 8, .alpha = {}, .learning_rate = {}},
                      {.match = "layers.3.*", .rank = 4, .alpha = {"rank/2"}, .learning_rate = 1e-3}};
  const std::vector<SitePlan> plans = plan_sites(config, sites_of_blocks(4));
  EXPECT_EQ(plans[0].rank, 16);
  EXPECT_EQ(plans[0].alpha, 32.0);
  EXPECT_EQ(plans[1].rank, 8);
  EXPECT_EQ(plans[1].alpha, 16.0) << "the expression follows the rank";
  EXPECT_EQ(plans[1].scale, 2.0);
  EXPECT_FALSE(plans[1].learning_rate);
  EXPECT_EQ(plans[7].rank, 4);
  EXPECT_EQ(plans[7].alpha, 2.0);
  EXPECT_EQ(plans[7].learning_rate, 1e-3);
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
  EXPECT_THAT(problem_of(config), HasSubstr("adapter.exclude: 'q_porj' matches no linear layer"));
  config.exclude = {"all-linear"};
  EXPECT_THAT(problem_of(config), HasSubstr("leave no layer to train"));
  config.exclude = {};
  config.layers = "2-4";
  EXPECT_THAT(problem_of(config), HasSubstr("names block 4, but the model's last block is 3"));
  config.layers.reset();
  config.targets = {"attention"};
  config.overrides = {{.match = "up_proj", .rank = 8, .alpha = {}, .learning_rate = {}}};
  EXPECT_THAT(problem_of(config), HasSubstr("'up_proj' matches only layers that get no adapter"));
  config.overrides = {{.match = "q_proj", .rank = 65, .alpha = {}, .learning_rate = {}}};
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
