#include "parallel/update_summary.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "dormer/core/error.hpp"

namespace dormer::parallel {
namespace {

constexpr std::int64_t kLeafNumbers = 2;    // loss, tokens: exact in a double below 2^53
constexpr std::int64_t kReportNumbers = 4;  // stop, error, seconds, pace

/// Takes numbers off a sequence, in the order in which `pack` put them there.
class Reader {
 public:
  explicit Reader(std::span<const double> numbers) : rest_(numbers) {}
  double next() {
    const double value = rest_.front();
    rest_ = rest_.subspan(1);
    return value;
  }

 private:
  std::span<const double> rest_;
};

std::vector<double> pack(const RankSummary& summary) {
  std::vector<double> numbers = summary.block_squares;
  for (const LeafLoss& leaf : summary.leaves) {
    numbers.push_back(leaf.loss_sum);
    numbers.push_back(static_cast<double>(leaf.tokens));
  }
  numbers.push_back(summary.report.stop ? 1.0 : 0.0);
  numbers.push_back(summary.report.error);
  numbers.push_back(summary.report.seconds);
  numbers.push_back(summary.report.pace);
  return numbers;
}

}  // namespace

std::vector<std::int64_t> summary_counts(const ReductionPlan& plan) {
  std::vector<std::int64_t> counts;
  for (std::size_t rank = 0; rank < plan.shares.size(); ++rank) {
    counts.push_back(plan.slices.slices[rank].count() / kNormBlock + kLeafNumbers * plan.shares[rank].count() +
                     kReportNumbers);
  }
  return counts;
}

ReducedGradient gather_summaries(const ReductionPlan& plan, comm::Communicator& communicator, const RankSummary& own) {
  const std::vector<double> all = gather_in_rank_order(communicator, pack(own), summary_counts(plan));
  Reader reader(all);
  ReducedGradient result;
  for (std::size_t rank = 0; rank < plan.shares.size(); ++rank) {
    // Slices and shares are contiguous and in rank order, so this is the order of block and leaf indices.
    for (std::int64_t block = 0; block < plan.slices.slices[rank].count() / kNormBlock; ++block) {
      result.squared_norm += reader.next();
    }
    for (std::int64_t leaf = 0; leaf < plan.shares[rank].count(); ++leaf) {
      const double loss_sum = reader.next();
      result.leaves.push_back({.loss_sum = loss_sum, .tokens = static_cast<std::int64_t>(reader.next())});
      result.loss.loss_sum += result.leaves.back().loss_sum;
      result.loss.tokens += result.leaves.back().tokens;
    }
    RankReport report;
    report.stop = reader.next() != 0.0;
    report.error = static_cast<int>(reader.next());
    report.seconds = reader.next();
    report.pace = reader.next();
    result.stop = result.stop || report.stop;
    result.seconds = std::max(result.seconds, report.seconds);
    if (report.error > result.error) {
      result.error = report.error;
      result.error_rank = static_cast<int>(rank);
    }
    result.ranks.push_back(report);
  }
  result.finite = std::isfinite(result.squared_norm) && std::isfinite(result.loss.loss_sum);
  return result;
}

double sum_of_squares(std::span<const float> block) {
  invariant(std::ssize(block) <= kNormBlock, "a norm block of {} elements", block.size());
  // Eight running sums, element i in sum i mod 8, added pairwise: the order is written here, not left to the compiler.
  constexpr std::size_t kLanes = 8;
  std::array<double, kLanes> sums{};
  std::size_t i = 0;
  for (; i + kLanes <= block.size(); i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const double value = block[i + lane];
      sums[lane] += value * value;
    }
  }
  for (std::size_t lane = 0; i + lane < block.size(); ++lane) {
    const double value = block[i + lane];
    sums[lane] += value * value;
  }
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

}  // namespace dormer::parallel
