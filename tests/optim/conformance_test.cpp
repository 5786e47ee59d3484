// What every optimizer promises, over the registry.
#include <cmath>
#include <cstring>

#include <gmock/gmock.h>

#include "optim/sliced_run.hpp"

namespace dormer::optim {
namespace {

class EveryOptimizer : public ::testing::TestWithParam<std::string> {
 protected:
  [[nodiscard]] const std::string& kind() const { return GetParam(); }
  [[nodiscard]] bool whole() const { return optimizer_registry().get("kind", kind()).whole; }
  [[nodiscard]] double rate() const { return kind() == "prodigy" ? 1.0 : 1e-2; }
  [[nodiscard]] SlicedRun run(int slices) const { return {kind(), small_settings(rate()), slices}; }
};

void update(SlicedRun& run, std::int64_t from, std::int64_t to) {
  for (std::int64_t step = from; step < to; ++step) {
    run.update(noise(static_cast<std::uint64_t>(100 + step), 1e-2),
               {.step = step, .schedule_factor = 1.0 - 0.05 * static_cast<double>(step), .gradient_scale = 0.7});
  }
}

::testing::AssertionResult same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) {
    return ::testing::AssertionFailure() << a.size() << " numbers and " << b.size();
  }
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::memcmp(&a[i], &b[i], sizeof(float)) != 0) {
      return ::testing::AssertionFailure() << "number " << i << ": " << a[i] << " and " << b[i];
    }
  }
  return ::testing::AssertionSuccess();
}

TEST_P(EveryOptimizer, GivesTheSameBitsForAnySlices) {
  SlicedRun one = run(1);
  update(one, 0, 6);
  for (const int slices : {2, 3}) {
    if (whole()) {
      continue;  // it holds everything wherever it runs
    }
    SlicedRun several = run(slices);
    update(several, 0, 6);
    EXPECT_TRUE(same_bits(one.values, several.values)) << slices << " slices";
    EXPECT_TRUE(same_bits(one.state(), several.state())) << slices << " slices";
  }
  EXPECT_FALSE(same_bits(one.values, noise(1, 0.1))) << "something was learned";
}

TEST_P(EveryOptimizer, GoesOnFromItsStateWithTheBitsOfAnUnbrokenRun) {
  const int resumed_slices = whole() ? 1 : 3;
  SlicedRun unbroken = run(1);
  update(unbroken, 0, 7);
  SlicedRun first = run(1);
  update(first, 0, 4);
  SlicedRun second = run(resumed_slices);
  second.values = first.values;
  second.restore(first.state());
  EXPECT_TRUE(same_bits(first.state(), second.state()));
  update(second, 4, 7);
  EXPECT_TRUE(same_bits(unbroken.values, second.values));
  EXPECT_TRUE(same_bits(unbroken.state(), second.state()));
}

TEST_P(EveryOptimizer, LooksAtItsStateWithoutChangingIt) {
  SlicedRun looked_at = run(1);
  SlicedRun left_alone = run(1);
  for (std::int64_t step = 0; step < 4; ++step) {
    update(looked_at, step, step + 1);
    update(left_alone, step, step + 1);
    static_cast<void>(looked_at.state());
  }
  EXPECT_TRUE(same_bits(looked_at.values, left_alone.values));
}

TEST_P(EveryOptimizer, LeavesPaddingAndGapsAtZero) {
  SlicedRun sliced = run(1);
  update(sliced, 0, 4);
  std::vector<bool> used(kSmallSize, false);
  for (const tensor::ParameterEntry& entry : small_entries()) {
    std::fill_n(used.begin() + entry.offset, entry.count(), true);
  }
  for (std::size_t i = 0; i < used.size(); ++i) {
    ASSERT_TRUE(std::isfinite(sliced.values[i])) << i;
    ASSERT_TRUE(used[i] || sliced.values[i] == 0.0F) << i;
  }
}

TEST_P(EveryOptimizer, StandsUpdatesWithoutAGradient) {
  SlicedRun sliced = run(1);
  const std::vector<float> zero(kSmallSize, 0.0F);
  sliced.update(zero, {.step = 0});
  update(sliced, 1, 3);
  sliced.update(zero, {.step = 3});
  for (const float value : sliced.values) {
    ASSERT_TRUE(std::isfinite(value));
  }
}

TEST_P(EveryOptimizer, LeavesWhatStoppedAsItIsDecayIncluded) {
  std::vector<tensor::ParameterEntry> entries = small_entries();
  entries[1].stop_after = 2;
  SlicedRun stopping(kind(), small_settings(rate()), 1, entries);
  update(stopping, 0, 2);
  const std::vector<float> before = stopping.values;
  const auto gradients = [](std::int64_t step) {
    std::vector<float> values = noise(static_cast<std::uint64_t>(100 + step), 1e-2);
    std::fill_n(values.begin() + 4'800, 5 * 700, 0.0F);  // backward passes leave them at zero
    return values;
  };
  for (std::int64_t step = 2; step < 4; ++step) {
    stopping.update(gradients(step), {.step = step});
  }
  for (std::size_t i = 0; i < before.size(); ++i) {
    const bool stops = i >= 4'800 && i < 4'800 + 5 * 700;
    ASSERT_TRUE(!stops || stopping.values[i] == before[i]) << i;
  }
  EXPECT_NE(stopping.values[0], before[0]);
}

INSTANTIATE_TEST_SUITE_P(Optim, EveryOptimizer, ::testing::ValuesIn(optimizer_registry().names()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace dormer::optim
