#include "train/fault_hooks.hpp"

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"

namespace dormer::train {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(FaultHooks, NamePointRankAndStep) {
  EXPECT_THAT(parse_fault_hooks("kill:save-committed,rank=0,step=4; delay:update,seconds=0.5"),
              ElementsAre(FaultHook{FaultAction::kKill, "save-committed", 0, 4, 0.0},
                          FaultHook{FaultAction::kDelay, "update", std::nullopt, std::nullopt, 0.5}));
  EXPECT_TRUE(parse_fault_hooks("").empty());
}

TEST(FaultHooks, RefuseWordsThatMeanNothing) {
  const auto refusal = [](const char* text) -> std::string {
    try {
      static_cast<void>(parse_fault_hooks(text));
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kUsage);
      return error.what();
    }
    return "accepted";
  };
  EXPECT_THAT(refusal("kick:update"), HasSubstr("'kick' is no action"));
  EXPECT_THAT(refusal("kill:lunch"), HasSubstr("'lunch' is no point"));
  EXPECT_THAT(refusal("kill"), HasSubstr("is no point"));
  EXPECT_THAT(refusal("kill:update,step=two"), HasSubstr("'two'"));
  EXPECT_THAT(refusal("kill:update,when=2"), HasSubstr("'when'"));
}

TEST(FaultHooks, StrikeAtTheirRankAndStepAlone) {
  const FaultHooks hooks(parse_fault_hooks("nan:gradient,rank=1,step=3"), 1);
  EXPECT_FALSE(hooks.reach("gradient", 2));
  EXPECT_FALSE(hooks.reach("update", 3));
  EXPECT_TRUE(hooks.reach("gradient", 3));
  EXPECT_FALSE(FaultHooks(parse_fault_hooks("nan:gradient,rank=1,step=3"), 0).reach("gradient", 3));
  EXPECT_FALSE(FaultHooks().reach("gradient", 3));
}

TEST(FaultHooks, PointsOfASaveHaveTheirNames) {
  const FaultHooks hooks(parse_fault_hooks("error:save-manifest"), 0);
  hooks.reach(storage::CommitPoint::kShardWritten, 1);
  EXPECT_THROW(hooks.reach(storage::CommitPoint::kManifestWritten, 1), Error);
}

}  // namespace
}  // namespace dormer::train
