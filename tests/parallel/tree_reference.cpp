#include "parallel/tree_reference.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <random>

#include <gmock/gmock.h>

#include "dormer/comm/checked.hpp"
#include "dormer/comm/traced.hpp"
#include "support/borrowed_communicator.hpp"

namespace dormer::parallel {

std::vector<std::vector<float>> random_leaves(std::int64_t leaves, std::int64_t flat_size, std::uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<float> normal;
  std::uniform_int_distribution<int> exponent(-120, 110);
  std::vector<std::vector<float>> result;
  for (std::int64_t leaf = 0; leaf < leaves; ++leaf) {
    std::vector<float>& values = result.emplace_back(static_cast<std::size_t>(flat_size));
    for (float& value : values) {
      const float drawn = normal(generator);
      switch (generator() % 16) {
        case 0:
          value = std::copysign(0.0F, drawn);
          break;
        case 1:
          value = drawn * 1e-41F;  // subnormal
          break;
        case 2:
        case 3:
          value = std::ldexp(drawn, exponent(generator));
          break;
        default:
          value = drawn;
      }
    }
  }
  return result;
}

std::vector<float> tree_sum(const std::vector<std::vector<float>>& leaves, std::size_t begin, std::size_t end) {
  if (end - begin == 1) {
    return leaves[begin];
  }
  std::size_t left_leaves = 1;
  while (left_leaves * 2 < end - begin) {
    left_leaves *= 2;
  }
  std::vector<float> sum = tree_sum(leaves, begin, begin + left_leaves);
  const std::vector<float> right = tree_sum(leaves, begin + left_leaves, end);
  for (std::size_t i = 0; i < sum.size(); ++i) {
    sum[i] = sum[i] + right[i];
  }
  return sum;
}

LeafLoss loss_of(std::int64_t leaf) {
  return {.loss_sum = 1.0 / static_cast<double>(leaf + 3) * std::pow(10.0, static_cast<double>(leaf % 7)),
          .tokens = 100 + leaf};
}

UpdateOutcome run_update(const ReductionPlan& plan, comm::Communicator& communicator,
                         const std::vector<std::vector<float>>& leaves, int updates) {
  comm::Trace trace;
  // Traced above `checked`, whose own messages do not count.
  const auto traced = comm::traced(comm::checked(dormer::testing::borrowed(communicator)), trace);
  const auto reducer = gradient_reducer(plan, *traced);
  const Range share = plan.shares[static_cast<std::size_t>(traced->rank())];
  UpdateOutcome outcome;
  for (int update = 0; update < updates; ++update) {
    trace = {};
    for (std::int64_t leaf = share.begin; leaf < share.end; ++leaf) {
      const std::span<float> buffer = reducer->next_leaf_buffer();
      EXPECT_EQ(std::bit_cast<std::uintptr_t>(buffer.data()) % 64, 0U);
      EXPECT_TRUE(std::all_of(buffer.begin(), buffer.end(), [](float value) { return value == 0.0F; }) ||
                  plan.request.reduction == Reduction::kFast);
      const std::vector<float>& values = leaves[static_cast<std::size_t>(leaf)];
      if (plan.request.reduction == Reduction::kExact) {
        std::copy(values.begin(), values.end(), buffer.begin());  // keeps zeros negative, which 0 + x would not
      } else {
        std::transform(values.begin(), values.end(), buffer.begin(), buffer.begin(), std::plus<>());
      }
      reducer->complete_leaf(loss_of(leaf));
    }
    const ReducedGradient result = reducer->reduce({.stop = false, .error = 0, .seconds = 1.5});
    EXPECT_TRUE(result.finite);
    EXPECT_FALSE(result.stop);
    const Range part = plan.gradient_of(traced->rank());
    EXPECT_EQ(std::ssize(result.gradient), part.count());
    outcome.gradient.assign(static_cast<std::size_t>(plan.request.flat_size), 0.0F);
    std::copy(result.gradient.begin(), result.gradient.end(), outcome.gradient.begin() + part.begin);
    if (plan.request.shard_optimizer) {
      gather_slices(*traced, plan.slices, outcome.gradient);
    }
    outcome.squared_norm = result.squared_norm;
    outcome.loss_sum = result.loss.loss_sum;
    outcome.tokens = result.loss.tokens;
    const comm::Trace expected = bytes_per_update(plan, traced->rank());
    for (int operation = 0; operation < comm::kOperationCount; ++operation) {
      const auto kind = static_cast<comm::Operation>(operation);
      EXPECT_EQ(trace.of(kind), expected.of(kind)) << name_of(kind);
    }
  }
  return outcome;
}

void expect_same_bits(const std::vector<float>& actual, const std::vector<float>& expected, const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ASSERT_EQ(std::bit_cast<std::uint32_t>(actual[i]), std::bit_cast<std::uint32_t>(expected[i]))
        << what << ", element " << i << ": " << actual[i] << " instead of " << expected[i];
  }
}

}  // namespace dormer::parallel
