#include "dormer/model/family.hpp"

#include <fstream>
#include <string>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"
#include "support/temp_directory.hpp"

namespace dormer::model {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// What loading says of a folder whose config.json is this and that has no weights.
std::string problem_of(const std::string& type, const std::string& more) {
  const test::TempDirectory folder;
  std::ofstream(folder.path() / "config.json")
      << R"({"vocab_size":331,"hidden_size":72,"intermediate_size":200,"num_hidden_layers":2,"num_attention_heads":6,)"
      << R"("model_type":")" << type << "\"" << more << "}";
  try {
    (void)load_language_model(folder.path(), DType::kF32);
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kInput);
    return error.what();
  }
  return "";
}

TEST(Families, WhatTheyDoNotDoIsRefusedByName) {
  EXPECT_THAT(problem_of("mixtral", ""), AllOf(HasSubstr("'mixtral'"), HasSubstr("mistral"), HasSubstr("qwen3")));
  EXPECT_THAT(problem_of("llama", R"(,"num_local_experts":8)"), HasSubstr("num_local_experts"));
  EXPECT_THAT(problem_of("phi3", R"(,"rope_scaling":{"type":"longrope","long_factor":[1.0]})"),
              HasSubstr("'longrope'"));
  EXPECT_THAT(problem_of("phi3", R"(,"partial_rotary_factor":0.75)"), HasSubstr("partial_rotary_factor"));
  EXPECT_THAT(problem_of("gemma2", R"(,"hidden_activation":"gelu")"), HasSubstr("hidden_activation \"gelu\""));
  EXPECT_THAT(problem_of("gemma3_text", R"(,"use_bidirectional_attention":true)"), HasSubstr("use_bidirectional"));
  EXPECT_THAT(problem_of("qwen2", R"(,"layer_types":["full_attention"])"), HasSubstr("layer_types"));
  EXPECT_THAT(problem_of("qwen3", R"(,"layer_types":["full_attention","linear_attention"])"),
              HasSubstr("linear_attention"));
  EXPECT_THAT(problem_of("mistral", R"(,"sliding_window":-4)"), HasSubstr("sliding_window must be a positive integer"));
}

}  // namespace
}  // namespace dormer::model
