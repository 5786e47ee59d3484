#pragma once

#include <cstdint>
#include <span>
#include <thread>
#include <vector>

#include "dormer/parallel/reducer.hpp"
#include "parallel/flat_buffer.hpp"

namespace dormer::parallel {

/// Adds all leaves into one buffer and leaves the order above them to the communicator's reduce-scatter or all-reduce.
/// A bucket is sent when all its parameters are announced and all buckets before it are sent: all ranks issue the same
/// operations in the same order, whatever order the announcements have. What is left goes with `reduce`, also on a rank
/// that failed: with whatever it holds.
class FastReducer final : public GradientReducer {
 public:
  FastReducer(const ReductionPlan& plan, const Links& links);
  [[nodiscard]] std::span<float> next_leaf_buffer() override;
  void announce(std::size_t slot) override;
  void complete_leaf(const LeafLoss& loss) override;
  [[nodiscard]] ReducedGradient reduce(const RankReport& report) override;

 private:
  void begin_update();
  [[nodiscard]] bool may_send_now() const;
  void send_complete_buckets();
  void send(const Bucket& bucket);
  void finish_sending();

  const ReductionPlan& plan_;
  const Links links_;
  const FlatArithmetic arithmetic_;
  const Range share_;
  const Range slice_;
  const std::thread::id thread_;  // the communicators' own
  FlatBuffer sum_;
  FlatBuffer own_;  // the own slice after a reduce-scatter
  std::vector<LeafLoss> losses_;
  std::vector<bool> announced_;        // slots
  std::vector<std::int64_t> missing_;  // slots not announced, of each bucket
  std::size_t sent_ = 0;               // buckets
  std::vector<comm::Pending> pending_;
  bool in_leaf_ = false;
  bool reduced_ = true;
};

}  // namespace dormer::parallel
