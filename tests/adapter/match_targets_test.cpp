#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "adapter/match_targets.hpp"
#include "dormer/adapter/adapter_set.hpp"
#include "dormer/core/error.hpp"

namespace dormer::adapter {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::vector<Site> kSites{{"model.layers.0.self_attn.q_proj", "attention", 0, 8, 8, 0},
                               {"model.layers.0.mlp.up_proj", "mlp", 0, 8, 8, 1},
                               {"model.layers.1.self_attn.q_proj", "attention", 1, 8, 8, 2},
                               {"model.layers.1.mlp.up_proj", "mlp", 1, 8, 8, 3}};

std::vector<std::size_t> match(const std::vector<std::string>& patterns) {
  return match_targets("adapter.targets", patterns, kSites);
}

TEST(MatchTargets, NamedSetsAndPatternsChooseSitesInTheModelsOrder) {
  EXPECT_THAT(match({"all-linear"}), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(match({"attention"}), ElementsAre(0, 2));
  EXPECT_THAT(match({"up_proj", "q_proj"}), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(match({"layers.1.*"}), ElementsAre(2, 3));
  EXPECT_THAT(match({"model.layers.0.mlp.up_proj"}), ElementsAre(1));
}

TEST(MatchTargets, APatternIsNoPartOfAName) {
  EXPECT_THROW((void)match({"proj"}), Error);
  EXPECT_THROW((void)match({"p_proj"}), Error);
}

TEST(MatchTargets, APatternThatMatchesNothingIsNamedWithTheNearest) {
  try {
    (void)match({"attention", "q_porj"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("'q_porj'"));
    EXPECT_THAT(error.what(), HasSubstr("did you mean 'q_proj'?"));
  }
}

TEST(AdapterSet, ARankAboveALayersWidthIsRefused) {
  const std::vector<FrozenLayer> none;
  AdapterConfig config;
  config.targets = {};
  EXPECT_THROW(AdapterSet(config, none, RandomKey{1}), Error);
}

}  // namespace
}  // namespace dormer::adapter
