#include "dormer/adapter/profile.hpp"

#include <string>

#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <gmock/gmock.h>

#include "adapted_layer.hpp"
#include "adapter/adapter.hpp"

namespace dormer::adapter {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::StartsWith;

AdapterConfig config_of(const std::string& profile) {
  AdapterConfig config;
  config.rank = 3;
  config.targets = {"q_proj"};
  config.profile = profile;
  config.decompose.emplace();
  return config;
}

TEST(Profile, SetsWhatTheConfigurationDoesNotSay) {
  struct Row {
    const char* profile;
    Axis axis;
    double epsilon;
    bool norm_gradient;
    bool whole_dropout;
    bool rounds;
  };
  for (const Row& row :
       {Row{"peft", Axis::kOutput, 0.0, false, false, true}, Row{"lycoris", Axis::kOutput, 0x1p-23, true, false, false},
        Row{"onetrainer", Axis::kInput, 0x1p-23, false, true, false},
        Row{"nvlabs", Axis::kOutput, 0.0, false, false, true}}) {
    const AdapterConfig config = config_of(row.profile);
    EXPECT_EQ(config.axis(), row.axis) << row.profile;
    EXPECT_EQ(config.epsilon(), row.epsilon) << row.profile;
    EXPECT_EQ(config.norm_gradient(), row.norm_gradient) << row.profile;
    EXPECT_EQ(config.whole_dropout(), row.whole_dropout) << row.profile;
    EXPECT_EQ(config.rounds_magnitude(), row.rounds) << row.profile;
    EXPECT_THAT(profile_contradictions(config), IsEmpty()) << row.profile;
  }
  AdapterConfig config = config_of("onetrainer");
  config.decompose->axis = "output";  // its "output axis"
  EXPECT_EQ(config.axis(), Axis::kOutput);
  EXPECT_THAT(profile_contradictions(config), IsEmpty());
}

TEST(Profile, ContradictionsAreToldWithTheLineToWrite) {
  AdapterConfig config = config_of("peft");
  config.decompose->axis = "input";
  config.decompose->epsilon = 1e-6;
  config.decompose->norm_gradient = true;
  config.dropout_placement = "whole";
  EXPECT_THAT(profile_contradictions(config),
              ElementsAre("adapter.decompose.axis: profile: peft has no input axis; write axis: output",
                          StartsWith("adapter.decompose.epsilon: profile: peft adds 0"),
                          StartsWith("adapter.decompose.norm_gradient: profile: peft counts norms as constants"),
                          "adapter.dropout_placement: profile: peft has input; write dropout_placement: input"));
  config = config_of("peft");
  config.kind = "lokr";
  EXPECT_THAT(profile_contradictions(config),
              ElementsAre("adapter.decompose: profile: peft does not decompose kind: lokr; take decompose away"));
  config = config_of("peft");
  config.start = "pissa";
  EXPECT_THAT(profile_contradictions(config), IsEmpty());
  config.dropout = 0.1;
  EXPECT_THAT(profile_contradictions(config), ElementsAre(StartsWith("adapter.dropout: profile: peft with start")));
  config = config_of("lycoris");
  config.dropout = 0.1;
  EXPECT_THAT(profile_contradictions(config), ElementsAre(StartsWith("adapter.dropout: profile: lycoris drops")));
  config = config_of("onetrainer");
  config.dropout = 0.1;
  EXPECT_THAT(profile_contradictions(config), IsEmpty());
  config.decompose.reset();
  EXPECT_THAT(profile_contradictions(config), ElementsAre(StartsWith("adapter.dropout: profile: onetrainer drops")));
}

TEST(Profile, RankAndModuleDropoutAreThoseOfProgramsThatHaveThem) {
  const auto problems = [](const std::string& profile, const std::string& kind) {
    AdapterConfig config = config_of(profile);
    config.decompose.reset();
    config.kind = kind;
    config.rank_dropout = 0.1;
    config.rank_dropout_scale = true;
    config.module_dropout = 0.2;
    return profile_contradictions(config);
  };
  for (const char* kind : {"lora", "locon", "loha", "lokr"}) {
    EXPECT_THAT(problems("lycoris", kind), IsEmpty());
    for (const char* profile : {"onetrainer", "nvlabs"}) {
      EXPECT_THAT(problems(profile, kind), ElementsAre(StartsWith("adapter.rank_dropout: profile: "),
                                                       StartsWith("adapter.module_dropout: profile: ")));
    }
  }
  EXPECT_THAT(problems("peft", "loha"), IsEmpty());
  EXPECT_THAT(problems("peft", "lokr"), IsEmpty());
  EXPECT_THAT(problems("peft", "lora"),
              ElementsAre("adapter.rank_dropout: profile: peft has none but for loha and lokr; write rank_dropout: 0, "
                          "or take profile away",
                          StartsWith("adapter.module_dropout: profile: peft has none")));
}

TEST(Profile, DropoutOfOverridesIsLookedAt) {
  AdapterConfig config = config_of("lycoris");
  config.overrides = {{.match = "q_proj", .dropout = 0.1}};
  EXPECT_THAT(profile_contradictions(config), ElementsAre(StartsWith("adapter.dropout: profile: lycoris drops")));
  config = config_of("nvlabs");
  config.overrides = {{.match = "q_proj", .rank_dropout = 0.1}};
  EXPECT_THAT(profile_contradictions(config), ElementsAre(StartsWith("adapter.rank_dropout: profile: nvlabs")));
  config = config_of("peft");
  config.decompose.reset();
  config.kind = "loha";
  config.rank_dropout = 0.1;
  EXPECT_THAT(profile_contradictions(config), ElementsAre(StartsWith("adapter.rank_dropout_scale: profile: peft")));
  config.rank_dropout_scale = true;
  EXPECT_THAT(profile_contradictions(config), IsEmpty());
  config.overrides = {{.match = "q_proj", .kind = "lora"}};
  EXPECT_THAT(profile_contradictions(config), ElementsAre(StartsWith("adapter.rank_dropout: profile: peft")));
}

/// PEFT and NVlabs take the norm in the dtype of W.
TEST(Profile, FirstMagnitudesAreRoundedWhereTheProgramRoundsThem) {
  for (const char* profile : {"peft", "nvlabs", "lycoris"}) {
    const bool rounds = std::string(profile) != "lycoris";
    const test::AdaptedLayer layer =
        test::adapted_layer(config_of(profile), false, test::frozen_layer(37, 53, false, at::kBFloat16));
    const at::Tensor magnitude = layer.adapters->find(0)->decomposition()->magnitude();
    EXPECT_EQ(at::equal(magnitude, magnitude.to(at::kBFloat16).to(at::kFloat)), rounds) << profile;
    const at::Tensor exact =
        at::linalg_vector_norm(layer.layers[0].weight.values().to(at::kDouble), 2, at::IntArrayRef{1});
    // Half a unit of 8 bits where it is rounded; else that of an fp32 sum and its root.
    EXPECT_LT(magnitude.to(at::kDouble).div(exact).sub(1.0).abs().max().item<double>(), rounds ? 0x1p-8 : 1e-6);
  }
}

}  // namespace
}  // namespace dormer::adapter
