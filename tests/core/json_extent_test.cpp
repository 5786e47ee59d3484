#include "dormer/core/json_extent.hpp"

#include <string>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"

namespace dormer {
namespace {

TEST(JsonExtent, CountsLevelsAndMembersOutsideOfTexts) {
  EXPECT_EQ(extent_of_json("").depth, 0U);
  EXPECT_EQ(extent_of_json("3").depth, 0U);
  EXPECT_EQ(extent_of_json("[[], [[]]]").depth, 3U);
  const JsonExtent extent = extent_of_json(R"({"a": {"[{": ":\"[[["}, "b": [1, "\\", {"c": 2}]})");
  EXPECT_EQ(extent.depth, 3U);
  EXPECT_EQ(extent.members, 4U);
}

TEST(JsonExtent, DeepTextsAreRefusedByName) {
  const std::string deepest = std::string(kDeepestJson, '[') + std::string(kDeepestJson, ']');
  EXPECT_NO_THROW(require_shallow_json(deepest, "a.json"));
  try {
    require_shallow_json("[" + deepest + "]", "a.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kInput);
    EXPECT_THAT(error.what(), testing::HasSubstr("a.json nests deeper than 64 levels"));
  }
}

}  // namespace
}  // namespace dormer
