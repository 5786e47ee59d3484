#include <cmath>
#include <cstring>
#include <random>

#include <gmock/gmock.h>

#include "dormer/optim/optimizer.hpp"

namespace dormer::optim {
namespace {

constexpr std::size_t kCount = 1003;  // neither a multiple of a vector register nor of a norm block

std::vector<float> noise(unsigned seed, std::size_t count = kCount) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.0F, 0.1F);
  std::vector<float> values(count);
  for (float& value : values) {
    value = normal(engine);
  }
  return values;
}

OptimizerInputs inputs(ElementRange slice, double weight_decay = 0.1) {
  return {.settings = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8},
          .groups = {{{0, 400}, 0.01, weight_decay}, {{400, static_cast<std::int64_t>(kCount)}, 0.02, 0.0}},
          .slice = slice};
}

std::unique_ptr<Optimizer> make(ElementRange slice) {
  return optimizer_registry().get("optimizer", "adamw")(inputs(slice));
}

/// The textbook in fp64.
void reference_update(std::vector<double>& values, std::vector<double>& first, std::vector<double>& second,
                      const std::vector<float>& gradients, const UpdateScalars& scalars) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double learning_rate = (i < 400 ? 0.01 : 0.02) * scalars.schedule_factor;
    const double gradient = gradients[i] * scalars.gradient_scale;
    first[i] = 0.9 * first[i] + 0.1 * gradient;
    second[i] = 0.95 * second[i] + 0.05 * gradient * gradient;
    const double t = static_cast<double>(scalars.step + 1);
    const double corrected = first[i] / (1.0 - std::pow(0.9, t));
    const double root = std::sqrt(second[i] / (1.0 - std::pow(0.95, t)));
    values[i] -= learning_rate * ((i < 400 ? 0.1 : 0.0) * values[i] + corrected / (root + 1e-8));
  }
}

TEST(AdamW, TwentyUpdatesFollowTheTextbook) {
  std::vector<float> values = noise(1);
  std::vector<double> expected(values.begin(), values.end());
  std::vector<double> first(kCount, 0.0);
  std::vector<double> second(kCount, 0.0);
  const auto optimizer = make({0, static_cast<std::int64_t>(kCount)});
  for (std::int64_t step = 0; step < 20; ++step) {
    const UpdateScalars scalars{
        .step = step, .schedule_factor = 1.0 - 0.03 * static_cast<double>(step), .gradient_scale = 0.7};
    const std::vector<float> gradients = noise(static_cast<unsigned>(step) + 10);
    optimizer->update(values, gradients, scalars);
    reference_update(expected, first, second, gradients, scalars);
  }
  for (std::size_t i = 0; i < kCount; ++i) {
    // 20 updates of at most 0.02, each rounded a few times in fp32 near 1.
    EXPECT_NEAR(values[i], expected[i], 2e-6) << i;
  }
}

TEST(AdamW, AnElementDoesNotDependOnWhereItsSliceEnds) {
  for (const std::int64_t cut : {1, 7, 64, 399, 401, 1002}) {
    const auto low = make({0, cut});
    const auto high = make({cut, static_cast<std::int64_t>(kCount)});
    const auto fresh = make({0, static_cast<std::int64_t>(kCount)});
    std::vector<float> together = noise(1);
    std::vector<float> apart = noise(1);
    for (std::int64_t step = 0; step < 3; ++step) {
      const std::vector<float> gradients = noise(static_cast<unsigned>(step) + 30);
      const auto split = static_cast<std::size_t>(cut);
      fresh->update(together, gradients, {.step = step});
      low->update(std::span(apart).first(split), std::span(gradients).first(split), {.step = step});
      high->update(std::span(apart).subspan(split), std::span(gradients).subspan(split), {.step = step});
    }
    EXPECT_EQ(std::memcmp(together.data(), apart.data(), kCount * sizeof(float)), 0) << "cut at " << cut;
  }
}

TEST(AdamW, StateIsTwoBuffersOfTheSliceAlone) {
  const auto optimizer = make({256, 756});
  EXPECT_EQ(optimizer->state_bytes(), 2U * 500U * sizeof(float));
  const std::vector<StateArray> state = optimizer->state();
  ASSERT_EQ(state.size(), 2U);
  EXPECT_EQ(state[0].name, "first");
  EXPECT_EQ(state[1].name, "second");
  EXPECT_EQ(state[1].values.size(), 500U);
}

TEST(AdamW, PaddingStaysZero) {
  const auto optimizer = make({0, 16});
  std::vector<float> values(16, 0.0F);
  optimizer->update(values, std::vector<float>(16, 0.0F), {.step = 0});
  EXPECT_THAT(values, ::testing::Each(0.0F));
}

TEST(ParameterGroups, CoverTheSpaceAndSpareMagnitudesFromDecay) {
  const OptimizerSettings settings{.factors = {1e-3, 0.1}, .magnitudes = {2e-3, 0.0}};
  const std::vector<tensor::ParameterEntry> entries{
      {"a", {4, 8}, {16, 8}, tensor::ParameterRole::kFactorIn, 0},
      {"b", {4, 8}, {16, 8}, tensor::ParameterRole::kFactorOut, 128},
      {"m", {8}, {8}, tensor::ParameterRole::kMagnitude, 256},
      {"c", {4, 8}, {16, 8}, tensor::ParameterRole::kFactorIn, 320},
  };
  const std::vector<ParameterGroup> expected{{{0, 256}, 1e-3, 0.1}, {{256, 320}, 2e-3, 0.0}, {{320, 4096}, 1e-3, 0.1}};
  EXPECT_EQ(plan_groups(entries, 4096, settings), expected);
}

TEST(ParameterGroups, FollowOverridesAndTheRatioOfOuterFactors) {
  const OptimizerSettings settings{.factors = {1e-3, 0.1}, .magnitudes = {2e-3, 0.0}, .outer_factor_ratio = 16.0};
  const std::vector<tensor::ParameterEntry> entries{
      {"a", {4, 8}, {16, 8}, tensor::ParameterRole::kFactorIn, 0},
      {"b", {4, 8}, {16, 8}, tensor::ParameterRole::kFactorOut, 128},
      {"c", {4, 8}, {16, 8}, tensor::ParameterRole::kFactorIn, 256, 5e-4},
      {"d", {4, 8}, {16, 8}, tensor::ParameterRole::kFactorOut, 384, 5e-4},
      {"m", {8}, {8}, tensor::ParameterRole::kMagnitude, 512, 5e-4},
  };
  const std::vector<ParameterGroup> expected{{{0, 128}, 1e-3, 0.1},
                                             {{128, 256}, 16 * 1e-3, 0.1},
                                             {{256, 384}, 5e-4, 0.1},
                                             {{384, 512}, 16 * 5e-4, 0.1},
                                             {{512, 4096}, 5e-4, 0.0}};
  EXPECT_EQ(plan_groups(entries, 4096, settings), expected);
}

TEST(ParameterGroups, KeepApartWhatStopsAndWhatDoesNot) {
  const std::vector<tensor::ParameterEntry> entries{
      {"a", {4, 8}, {16, 8}, tensor::ParameterRole::kFactorIn, 0},
      {"b", {4, 8}, {16, 8}, tensor::ParameterRole::kFactorIn, 128, {}, 3},
      {"w", {4, 8}, {4, 8}, tensor::ParameterRole::kFull, 256, {}, 3},
  };
  const std::vector<ParameterGroup> expected{{{0, 128}, 1e-3, 0.1}, {{128, 4096}, 1e-3, 0.1, 3}};
  EXPECT_EQ(plan_groups(entries, 4096, {.factors = {1e-3, 0.1}}), expected);
}

TEST(AdamW, WhatStoppedStaysAsItIsDecayIncluded) {
  const OptimizerSettings settings{.factors = {0.1, 0.5}};
  const std::vector<ParameterGroup> groups{{{0, 8}, 0.1, 0.5, 2}, {{8, 16}, 0.1, 0.5}};
  const auto optimizer = optimizer_registry().get("optimizer.kind", "adamw")({settings, groups, {0, 16}});
  std::vector<float> values(16, 1.0F);
  const std::vector<float> gradients(16, 0.25F);
  for (std::int64_t step = 0; step < 2; ++step) {
    optimizer->update(values, gradients, {.step = step});
  }
  EXPECT_EQ(values[0], values[8]) << "until it stops it trains as the rest";
  const float stopped = values[0];
  const float moment = optimizer->state()[0].values[0];
  optimizer->update(values, gradients, {.step = 2});
  EXPECT_EQ(values[7], stopped);
  EXPECT_EQ(optimizer->state()[0].values[7], moment);
  EXPECT_NE(values[8], stopped);
}

TEST(Clipping, ScalesDownToTheMaximumOnly) {
  EXPECT_DOUBLE_EQ(clipping_scale(4.0, 1.0), 1.0 / (4.0 + 1e-6));
  EXPECT_DOUBLE_EQ(clipping_scale(0.5, 1.0), 1.0);
  EXPECT_DOUBLE_EQ(clipping_scale(4.0, 0.0), 1.0) << "0 turns clipping off";
}

}  // namespace
}  // namespace dormer::optim
