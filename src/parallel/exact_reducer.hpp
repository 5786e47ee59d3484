#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "dormer/parallel/reducer.hpp"
#include "parallel/flat_buffer.hpp"

namespace dormer::parallel {

/// Adds in the order of the fixed tree. Each leaf has a fresh buffer, because adding a product into a sum gives other
/// bits than adding the finished product; a binary counter merges neighbours, so few buffers are needed.
class ExactReducer final : public GradientReducer {
 public:
  ExactReducer(const ReductionPlan& plan, const Links& links);
  [[nodiscard]] std::span<float> next_leaf_buffer() override;
  void announce(std::size_t /*slot*/) override {}  // adds in tree order: whole leaves only
  void complete_leaf(const LeafLoss& loss) override;
  [[nodiscard]] ReducedGradient reduce(const RankReport& report) override;

 private:
  /// One addition of the tree above the ranks' subtrees, as positions in the list of all subtrees. The sum takes the
  /// left one's place.
  struct Addition {
    std::size_t left = 0;
    std::size_t right = 0;
  };

  std::size_t plan_additions(Range node);
  [[nodiscard]] std::size_t subtree_index(Range subtree) const;
  std::size_t take_buffer();
  void give_back(std::size_t buffer) { free_.push_back(buffer); }
  void begin_update();
  void fill_missing();
  void exchange(std::vector<std::span<float>>& parts);
  [[nodiscard]] std::vector<double> add_slice(const std::vector<std::span<float>>& parts) const;

  const ReductionPlan& plan_;
  const Links links_;
  const FlatArithmetic arithmetic_;
  const Range share_;
  const Range slice_;
  const RankExchange& messages_;
  const std::vector<Range> own_subtrees_;
  std::vector<Range> all_subtrees_;  // of all ranks, from left to right
  std::vector<Addition> additions_;

  std::vector<FlatBuffer> buffers_;
  std::vector<std::size_t> free_;
  std::vector<std::size_t> sums_;  // the counter: partial sums from left to right, at the end one per own subtree
  std::optional<std::size_t> current_;
  std::vector<FlatBuffer> received_;  // one per message
  std::vector<LeafLoss> losses_;
  bool reduced_ = false;
};

}  // namespace dormer::parallel
