#include "dormer/core/nearest_name.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>

namespace dormer {
namespace {

const std::vector<std::string> kKnown{"learning_rate", "rank", "alpha"};

TEST(NearestName, FindsATypingError) {
  EXPECT_EQ(nearest_name("learning_rat", kKnown), "learning_rate");
  EXPECT_EQ(nearest_name("rnak", kKnown), "rank");
}

TEST(NearestName, DoesNotGuessWildly) {
  EXPECT_EQ(nearest_name("resolution", kKnown), std::nullopt);
}

}  // namespace
}  // namespace dormer
