#include "dormer/data/concepts.hpp"

#include <gmock/gmock.h>

#include "dormer/config/read.hpp"
#include "dormer/config/write.hpp"

namespace dormer::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ConceptConfig read(const std::string& text) {
  return config::load<ConceptConfig>({.name = "test", .text = text});
}

TEST(ConceptConfig, ReadsBackWhatItWrites) {
  const ConceptConfig config = read(
      "{path: photos/teapot, captions: filename, repeats: 2.5, loss_weight: 0.5, role: prior, flip_probability: 0.5, "
      "masks: {source: sidecar, unmasked_weight: 0.2}}");
  EXPECT_EQ(config.path, "photos/teapot");
  EXPECT_EQ(config.repeats, 2.5);
  EXPECT_EQ(config.masks.unmasked_weight, 0.2);
  EXPECT_EQ(config::dump(read(config::dump(config))), config::dump(config));
}

TEST(ConceptConfig, IsCalledAsItsFolder) {
  EXPECT_EQ(read("{path: photos/teapot/}").shown_name(), "teapot");
  EXPECT_EQ(read("{path: photos/teapot, name: pot}").shown_name(), "pot");
  EXPECT_EQ(read("{path: .}").shown_name(), ".");
}

TEST(CheckConcepts, NamesWhatContradicts) {
  ConceptConfig config = read("{path: a}");
  EXPECT_THAT(check_concepts({config}, "data.concepts"), IsEmpty());
  config.repeats = 2.0;
  config.samples = 100;
  config.role = "validation";
  EXPECT_THAT(
      check_concepts({config}, "data.concepts"),
      ElementsAre(HasSubstr("data.concepts.0.samples: "), HasSubstr("data.concepts: no concept has the role train")));
}

}  // namespace
}  // namespace dormer::data
