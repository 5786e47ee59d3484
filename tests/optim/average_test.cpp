#include "dormer/optim/average.hpp"

#include <cmath>

#include <gmock/gmock.h>

#include "optim/sliced_run.hpp"

namespace dormer::optim {
namespace {

std::unique_ptr<Optimizer> averaged(const AverageSettings& settings, ElementRange slice) {
  const OptimizerSettings adamw = small_settings(0.05);
  const std::vector<tensor::ParameterEntry> entries = small_entries();
  return with_average(
      optimizer_registry().get("kind", "adamw")(
          {.settings = adamw, .groups = plan_groups(entries, kSmallSize, adamw), .slice = slice, .entries = entries}),
      settings, "cpu");
}

TEST(Average, KeepsLittleOfItselfAtFirst) {
  const AverageSettings settings{.decay = 0.9, .every = 1};
  EXPECT_DOUBLE_EQ(average_keep(settings, 1), 2.0 / 11.0);
  EXPECT_DOUBLE_EQ(average_keep(settings, 79), 80.0 / 89.0);
  EXPECT_DOUBLE_EQ(average_keep(settings, 1000), 0.9);
}

/// In double precision, to a few roundings of fp32 for each of 7 renewals.
TEST(Average, FollowsItsDefinition) {
  for (const std::int64_t every : {1, 3}) {
    const AverageSettings settings{.decay = 0.35, .every = every};
    const std::unique_ptr<Optimizer> optimizer = averaged(settings, {0, kSmallSize});
    std::vector<float> values = noise(1, 1.0);
    std::vector<double> expected(values.begin(), values.end());
    std::int64_t skipped = 0;
    for (std::int64_t step = 0; step < 8; ++step) {
      if (step == 4) {
        ++skipped;  // an update that changed nothing
        continue;
      }
      optimizer->update(values, noise(static_cast<std::uint64_t>(step) + 7, 1.0), {.step = step, .skipped = skipped});
      const std::int64_t updates = step - skipped + 1;
      if (updates % every == 0) {
        const double keep = average_keep(settings, updates / every);
        for (std::size_t i = 0; i < expected.size(); ++i) {
          expected[i] = keep * expected[i] + (1.0 - keep) * static_cast<double>(values[i]);
        }
      }
    }
    std::vector<float> average = values;
    optimizer->average(average);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(average[i], expected[i], 16 * 0x1p-24 * (1.0 + std::abs(expected[i]))) << i;
    }
    EXPECT_NE(average, values);
  }
}

TEST(Average, IsTheSameForEverySlice) {
  const AverageSettings settings{.decay = 0.999, .every = 2};
  const std::vector<float> start = noise(1, 1.0);
  const auto average_of = [&](std::initializer_list<ElementRange> slices) {
    std::vector<float> result;
    for (const ElementRange& slice : slices) {
      const std::unique_ptr<Optimizer> optimizer = averaged(settings, slice);
      std::vector<float> values(start.begin() + slice.begin, start.begin() + slice.end);
      for (std::int64_t step = 0; step < 6; ++step) {
        const std::vector<float> gradients = noise(static_cast<std::uint64_t>(step) + 3, 1.0);
        optimizer->update(values, std::span(gradients).subspan(static_cast<std::size_t>(slice.begin), values.size()),
                          {.step = step});
      }
      optimizer->average(values);
      result.insert(result.end(), values.begin(), values.end());
    }
    return result;
  };
  constexpr std::int64_t kBlock = tensor::FlatSpace::kNormBlock;
  EXPECT_EQ(average_of({{0, kSmallSize}}), average_of({{0, kBlock}, {kBlock, 3 * kBlock}, {3 * kBlock, kSmallSize}}));
}

TEST(Average, GoesOnFromItsState) {
  const AverageSettings settings{.decay = 0.5, .every = 1};
  std::vector<float> values = noise(1, 1.0);
  const std::unique_ptr<Optimizer> first = averaged(settings, {0, kSmallSize});
  std::vector<float> untouched = values;
  first->average(untouched);
  EXPECT_EQ(untouched, values);  // nothing was trained yet
  first->update(values, noise(2, 1.0), {.step = 0});
  const std::unique_ptr<Optimizer> second = averaged(settings, {0, kSmallSize});
  const std::vector<StateArray> from = first->state();
  const std::vector<StateArray> to = second->state();
  ASSERT_EQ(from.size(), to.size());
  EXPECT_EQ(from.back().name, "average");
  for (std::size_t i = 0; i < from.size(); ++i) {
    std::ranges::copy(from[i].values, to[i].values.begin());
  }
  second->close_state(true);
  std::vector<float> other = values;
  first->update(values, noise(3, 1.0), {.step = 1});
  second->update(other, noise(3, 1.0), {.step = 1});
  first->average(values);
  second->average(other);
  EXPECT_EQ(values, other);
}

}  // namespace
}  // namespace dormer::optim
