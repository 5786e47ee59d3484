#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dormer/parallel/reducer.hpp"
#include "parallel/float_buffer.hpp"

namespace dormer::parallel {

/// Adds all leaves into one buffer and leaves the order above them to the communicator's reduce-scatter or all-reduce.
class FastReducer final : public GradientReducer {
 public:
  FastReducer(const ReductionPlan& plan, comm::Communicator& communicator);
  [[nodiscard]] std::span<float> next_leaf_buffer() override;
  void complete_leaf(const LeafLoss& loss) override;
  [[nodiscard]] ReducedGradient reduce(const RankReport& report) override;

 private:
  void begin_update();

  const ReductionPlan& plan_;
  comm::Communicator& communicator_;
  const Range share_;
  const Range slice_;
  FloatBuffer sum_;
  FloatBuffer own_;  // the own slice after a reduce-scatter
  std::vector<LeafLoss> losses_;
  bool in_leaf_ = false;
  bool reduced_ = true;
};

}  // namespace dormer::parallel
