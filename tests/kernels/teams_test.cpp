#include <algorithm>
#include <cmath>
#include <set>
#include <type_traits>
#include <typeindex>

#include <gtest/gtest.h>

#include "dormer/kernels/elements.hpp"
#include "dormer/kernels/kernels.hpp"
#include "dormer/kernels/team_rows.hpp"
#include "kernels/operation_cases.hpp"
#include "kernels/thread_team.hpp"

namespace dormer::kernels {
namespace {

constexpr int kBlockLanes = static_cast<int>(SquaredBlocksArguments::kLanes);

void serial_parts(std::int64_t count, std::int64_t /*grain*/,
                  const std::function<void(std::int64_t, std::int64_t)>& body) {
  body(0, count / 3);  // unlike the calls of a test, which have few items
  body(count / 3, count);
}

/// Every row by this many lanes, one after the other.
template <int kTeamLanes>
class SimulatedLoops final : public ComputedBy<SimulatedLoops<kTeamLanes>> {
 public:
  template <typename Arguments>
  void compute(const Arguments& arguments, std::int64_t count) const {
    used.insert(typeid(Arguments));
    for (std::int64_t item = 0; item < count; ++item) {
      if constexpr (ElementOperation<Arguments>) {
        compute_element(arguments, item);
      } else if constexpr (std::is_same_v<Arguments, SquaredBlocksArguments>) {
        compute_row(arguments, item, SimulatedTeam<kBlockLanes>());
      } else {
        compute_row(arguments, item, SimulatedTeam<kTeamLanes>());
      }
    }
  }
  mutable std::set<std::type_index> used;
};

/// Every row by this many lanes at the same time.
class ThreadLoops final : public ComputedBy<ThreadLoops> {
 public:
  explicit ThreadLoops(int lanes) : lanes_(lanes) {}
  template <typename Arguments>
  void compute(const Arguments& arguments, std::int64_t count) const {
    if constexpr (ElementOperation<Arguments>) {
      for (std::int64_t item = 0; item < count; ++item) {
        compute_element(arguments, item);
      }
    } else {
      const bool blocks = std::is_same_v<Arguments, SquaredBlocksArguments>;
      ThreadTeam::run(blocks ? kBlockLanes : lanes_, [&](const ThreadTeam& team) {
        for (std::int64_t item = 0; item < std::min<std::int64_t>(count, 6); ++item) {
          compute_row(arguments, item, team);
        }
      });
    }
  }

 private:
  int lanes_;
};

/// Leaves every array as it was.
class Nothing final : public ComputedBy<Nothing> {
 public:
  template <typename Arguments>
  void compute(const Arguments& /*arguments*/, std::int64_t /*count*/) const {}
};

std::vector<double> host_results(const OperationCase& which, const Kernels& kernels) {
  HostMemory memory;
  return which.results(kernels, memory);
}

class OperationByLanes : public ::testing::TestWithParam<OperationCase> {};

template <int kTeamLanes>
void expect_like_host_loops(const OperationCase& which) {
  const auto host = host_loops(&serial_parts);
  SimulatedLoops<kTeamLanes> simulated;
  EXPECT_LE(rounding_excess(which, host_results(which, simulated), host_results(which, *host)), 1.0)
      << kTeamLanes << " lanes";
}

TEST_P(OperationByLanes, ByATeamOfAnySizeIsWhatTheHostLoopsGive) {
  expect_like_host_loops<1>(GetParam());
  expect_like_host_loops<32>(GetParam());
  expect_like_host_loops<256>(GetParam());
}

TEST_P(OperationByLanes, ByTheFunctorLoopsIsWhatTheHostLoopsGive) {
  const auto host = host_loops(&serial_parts);
  const auto functors = functor_loops();
  EXPECT_LE(rounding_excess(GetParam(), host_results(GetParam(), *functors), host_results(GetParam(), *host)), 1.0);
}

/// The first rows alone: threads are slow.
TEST_P(OperationByLanes, HasTheBitsOfSimulatedLanesWhenLanesRunAtTheSameTime) {
  ThreadLoops threads(32);
  SimulatedLoops<32> simulated;
  const std::vector<double> actual = host_results(GetParam(), threads);
  const std::vector<double> expected = host_results(GetParam(), simulated);
  ASSERT_EQ(actual.size(), expected.size());
  HostMemory memory;
  const Nothing nothing;
  const std::vector<double> untouched = host_results(GetParam(), nothing);
  std::size_t computed = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const bool same = actual[i] == expected[i] || (std::isnan(actual[i]) && std::isnan(expected[i]));
    EXPECT_TRUE(same || actual[i] == untouched[i]) << i << ": " << actual[i] << " and " << expected[i];
    computed += same ? 1 : 0;
  }
  EXPECT_GT(computed, 0U);
}

INSTANTIATE_TEST_SUITE_P(Kernels, OperationByLanes, ::testing::ValuesIn(operation_cases()), [](const auto& test) {
  return test.param.name + (test.param.half ? "_bfloat16_" : "_float32_") + std::to_string(test.index);
});

template <typename... Arguments>
std::set<std::type_index> types_of(OperationList<Arguments...>) {
  return {typeid(Arguments)...};
}

TEST(OperationCases, CoverEveryOperation) {
  SimulatedLoops<1> loops;
  for (const OperationCase& which : operation_cases()) {
    host_results(which, loops);
  }
  EXPECT_EQ(loops.used, types_of(EveryOperation{}));
}

}  // namespace
}  // namespace dormer::kernels
