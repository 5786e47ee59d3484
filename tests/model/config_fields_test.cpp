#include "decoder.hpp"

#include <cmath>
#include <string>

#include <ATen/core/Tensor.h>
#include <gmock/gmock.h>

#include "dormer/core/error.hpp"

namespace dormer::model {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string config_with(const std::string& more) {
  return R"({"model_type":"llama","vocab_size":331,"hidden_size":72,"intermediate_size":200,"num_hidden_layers":2,)"
         R"("num_attention_heads":6,"max_position_embeddings":512)" +
         more + "}";
}

/// What the Llama family makes of a config.json; the other families share these readers.
DecoderDescription described(const std::string& text) {
  return describe_decoder(
      [](ConfigFields& fields) {
        DecoderDescription decoder = read_sizes(fields, "llama", false);
        decoder.rotaries = {read_rotary(fields, decoder.maximum_positions)};
        require_gate(fields, {"hidden_act"}, {"silu", "swish"});
        return decoder;
      },
      text, "config.json");
}

std::string problem_of(const std::string& more) {
  try {
    (void)described(config_with(more));
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kInput);
    return error.what();
  }
  return "";
}

TEST(ConfigFields, SizesThatNoModelHasAreRefusedBeforeMemoryIsTaken) {
  EXPECT_THAT(problem_of(R"(,"num_hidden_layers":2000000000)"), HasSubstr("num_hidden_layers"));
  EXPECT_THAT(problem_of(R"(,"head_dim":2147483648)"), HasSubstr("head_dim"));
}

TEST(ConfigFields, DeepTextsAreRefused) {
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  EXPECT_THAT(problem_of(",\"eos_token_id\":" + deep), HasSubstr("64 levels"));
}

TEST(ConfigFields, DefaultsAreThoseOfTransformers) {
  const DecoderDescription config = described(config_with(""));
  EXPECT_EQ(config.key_value_heads, 6);
  EXPECT_EQ(config.head_width, 12);
  EXPECT_EQ(config.rotaries.front().theta, 10'000.0);
  EXPECT_EQ(config.rotaries.front().type, "default");
  EXPECT_FALSE(config.tied_head);
}

TEST(ConfigFields, ReadsBothSpellingsOfRotaryEmbedding) {
  const DecoderDescription old = described(config_with(
      R"(,"rope_theta":5e5,"rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,)"
      R"("original_max_position_embeddings":128})"));
  const DecoderDescription present = described(
      config_with(R"(,"rope_parameters":{"rope_type":"llama3","rope_theta":5e5,"factor":8.0,"low_freq_factor":1.0,)"
                  R"("high_freq_factor":4.0,"original_max_position_embeddings":128})"));
  EXPECT_EQ(old.rotaries.front().theta, 5e5);
  EXPECT_EQ(present.rotaries.front().theta, 5e5);
  EXPECT_EQ(old.rotaries.front().original_positions, present.rotaries.front().original_positions);
  EXPECT_EQ(inverse_frequencies(old.rotaries.front(), 12).sum().item<float>(),
            inverse_frequencies(present.rotaries.front(), 12).sum().item<float>());
  EXPECT_EQ(described(config_with(R"(,"rope_scaling":{"type":"linear","factor":2})")).rotaries.front().factor, 2.0);
}

TEST(ConfigFields, ReadsExplicitHeadSizeAndEndsOfText) {
  const DecoderDescription config =
      described(config_with(R"(,"head_dim":20,"num_key_value_heads":2,"eos_token_id":[3,5])"));
  EXPECT_EQ(config.head_width, 20);
  EXPECT_EQ(config.key_value_heads, 2);
  EXPECT_THAT(config.end_of_text, ElementsAre(3, 5));
}

TEST(ConfigFields, WhatIsNotDoneIsRefusedByName) {
  EXPECT_THAT(problem_of(R"(,"rope_scaling":{"rope_type":"yarn","factor":4.0})"), HasSubstr("'yarn'"));
  EXPECT_THAT(problem_of(R"(,"hidden_act":"gelu")"), HasSubstr("hidden_act \"gelu\""));
  EXPECT_THAT(problem_of(R"(,"quantization_config":{"bits":4})"), HasSubstr("quantization_config"));
  EXPECT_THAT(problem_of(R"(,"num_local_experts":8)"), HasSubstr("num_local_experts"));
  EXPECT_THAT(problem_of(R"(,"partial_rotary_factor":0.5)"), HasSubstr("partial_rotary_factor"));
}

TEST(ConfigFields, ImpossibleSizesAreNamedAllTogether) {
  EXPECT_THAT(problem_of(R"(,"num_key_value_heads":4,"head_dim":7)"),
              AllOf(HasSubstr("num_key_value_heads 4"), HasSubstr("head_dim 7 is odd")));
  EXPECT_THAT(problem_of(R"(,"num_key_value_heads":0)"), HasSubstr("positive integer"));
  EXPECT_THAT(problem_of(R"(,"rms_norm_eps":"x")"), HasSubstr("rms_norm_eps"));
}

/// The blend of llama3 (its formula in fp64) at wavelengths above, below and between the limits.
TEST(RotaryFrequencies, Llama3StretchesLongWavelengthsOnly) {
  const RotaryConfig rotary{"llama3", 10'000.0, 8.0, 1.0, 4.0, 64.0};
  const at::Tensor plain = inverse_frequencies({}, 32);
  const at::Tensor scaled = inverse_frequencies(rotary, 32);
  for (std::int64_t i = 0; i < 16; ++i) {
    const double frequency = std::pow(10'000.0, -2.0 * static_cast<double>(i) / 32.0);
    const double wavelength = 2.0 * M_PI / frequency;
    const double blend = (64.0 / wavelength - 1.0) / 3.0;
    const double expected = wavelength > 64.0   ? frequency / 8.0
                            : wavelength < 16.0 ? frequency
                                                : (1.0 - blend) * frequency / 8.0 + blend * frequency;
    EXPECT_NEAR(scaled[i].item<double>() / expected, 1.0, 4e-6) << i;
    EXPECT_NEAR(plain[i].item<double>() / frequency, 1.0, 1e-6) << i;
  }
}

}  // namespace
}  // namespace dormer::model
