#include <string>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"
#include "dormer/model/image_model.hpp"

namespace dormer::model {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string noise_problem_of(const std::string& text) {
  try {
    (void)read_noise_facts(text, "scheduler_config.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kInput);
    return error.what();
  }
  return {};
}

TEST(NoiseFacts, WhichStepsASamplerTakesIsReadAsDiffusersMeansIt) {
  const SamplingFacts said =
      read_noise_facts(R"({"timestep_spacing": "trailing", "steps_offset": 3, "set_alpha_to_one": true})", "").sampling;
  EXPECT_EQ(said.spacing, "trailing");
  EXPECT_EQ(said.offset, 3);
  EXPECT_TRUE(said.ends_clean);
  const SamplingFacts silent = read_noise_facts(R"({"timestep_spacing": null})", "").sampling;
  EXPECT_EQ(silent.spacing, "leading");
  EXPECT_EQ(silent.offset, 0);
  EXPECT_FALSE(silent.ends_clean);
}

TEST(NoiseFacts, EverythingThatIsNotDoneIsNamed) {
  EXPECT_THAT(noise_problem_of(R"({"timestep_spacing": "karras", "steps_offset": -1, "beta_schedule": 7})"),
              AllOf(HasSubstr("scheduler_config.json"),
                    HasSubstr("timestep_spacing \"karras\" is not supported; known: leading, linspace, trailing"),
                    HasSubstr("steps_offset -1 is not a number of steps"), HasSubstr("beta_schedule 7")));
  EXPECT_THAT(noise_problem_of(R"({"steps_offset": 1000})"), HasSubstr("steps_offset 1000"));
  EXPECT_THAT(noise_problem_of(R"({"steps_offset": 1.5})"), HasSubstr("steps_offset 1.5"));
}

}  // namespace
}  // namespace dormer::model
