#include "cli/kernel_benchmark.hpp"

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <typeindex>
#include <vector>

#include <gmock/gmock.h>

namespace dormer::cli {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

/// Hands on to the functor loops and notes which operations were asked for.
class NotingLoops final : public kernels::ComputedBy<NotingLoops> {
 public:
  template <typename Arguments>
  void compute(const Arguments& arguments, std::int64_t count) const {
    used.insert(typeid(Arguments));
    loops_->run(arguments, count);
  }
  mutable std::set<std::type_index> used{};

 private:
  std::unique_ptr<kernels::Kernels> loops_ = kernels::functor_loops();
};

template <typename... Arguments>
std::set<std::type_index> types_of(kernels::OperationList<Arguments...>) {
  return {typeid(Arguments)...};
}

constexpr KernelSizes kSmall{.rows = 6, .width = 40, .vocabulary = 70, .rank = 16};

TEST(KernelCases, HoldEveryOperation) {
  const NotingLoops loops;
  DeviceArrays arrays("cpu");
  for (const KernelCase& kernel : kernel_cases(kSmall)) {
    kernel.prepare(arrays)(loops);
  }
  EXPECT_EQ(loops.used, types_of(kernels::EveryOperation{}));
}

std::int64_t bytes_of(const std::string& name, const std::string& numbers) {
  for (const KernelCase& kernel : kernel_cases(kSmall)) {
    if (kernel.name == name && kernel.numbers == numbers) {
      return kernel.bytes;
    }
  }
  return -1;
}

TEST(KernelCases, CountEveryArrayOnceForReadingAndOnceForWriting) {
  EXPECT_EQ(bytes_of("rms_norm", "float32"), 6 * 40 * (4 + 4) + 40 * 4 + 6 * 4) << "x and y; weight; inverse_rms";
  EXPECT_EQ(bytes_of("gated_unit_silu_backward", "bfloat16"), 6 * 40 * 5 * 2) << "three read, two written";
  EXPECT_EQ(bytes_of("causal_softmax", "bfloat16"), 6 * (21 + 36) * 2)
      << "6 squares of 6x6; the upper half is not read";
  EXPECT_EQ(bytes_of("cross_entropy", "float32"), 3 * (70 * 8 + 8 + 4)) << "logits read and written, target, loss";
  EXPECT_EQ(bytes_of("adamw", "float32"), 6 * 40 * 7 * 4) << "four arrays read, three written";
  EXPECT_EQ(bytes_of("norms_from_terms", "float32"), 6 * 40 * (3 * 4 + 4 + 1));
}

TEST(KernelBenchmark, MeasuresEveryCaseBehindACopyAndTwoProducts) {
  const std::vector<KernelRow> rows = measure_kernels(kSmall, 2, {});
  ASSERT_EQ(rows.size(), 3 + kernel_cases(kSmall).size());
  EXPECT_EQ(rows[0].name, "copy (LibTorch)");
  EXPECT_EQ(rows[2].floats, 2 * 6 * 40 * 40);
  for (const KernelRow& row : rows) {
    EXPECT_EQ(row.seconds.size(), 2U) << row.name;
    EXPECT_GT(*std::min_element(row.seconds.begin(), row.seconds.end()), 0.0) << row.name;
  }
}

TEST(KernelBenchmark, TheTableHasMedianRateAndShareOfTheCopy) {
  const std::string table =
      describe(std::vector<KernelRow>{{"copy (LibTorch)", "float32", 8'000'000, 0, {4e-6, 1e-6, 2e-6}},
                                      {"cancelling_norms", "bfloat16", 2'000'000, 3'000'000, {1e-6, 3e-6}}});
  EXPECT_THAT(table,
              HasSubstr("copy (LibTorch)              float32            2.0     4000.0      1.00           \n"));
  EXPECT_THAT(table,
              HasSubstr("cancelling_norms             bfloat16           2.0     1000.0      0.25     1500.0\n"));
}

TEST(KernelBenchmark, JsonHasEveryRound) {
  EXPECT_EQ(to_json(std::vector<KernelRow>{{"fill", "float32", 16, 0, {0.5, 0.25}}}),
            "[{\"name\": \"fill\", \"numbers\": \"float32\", \"bytes\": 16, \"floats\": 0, \"seconds\": [0.500000000, "
            "0.250000000]}]\n");
}

}  // namespace
}  // namespace dormer::cli
