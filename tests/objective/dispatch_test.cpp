#include <algorithm>
#include <memory>
#include <mutex>
#include <set>
#include <typeindex>
#include <vector>

#include <gtest/gtest.h>

#include "dormer/comm/single.hpp"
#include "dormer/kernels/kernels.hpp"
#include "dormer/optim/optimizer.hpp"
#include "dormer/parallel/reducer.hpp"
#include "dormer/tensor/device_kernels.hpp"
#include "dormer/tensor/process.hpp"
#include "support/temp_directory.hpp"
#include "support/tiny_model.hpp"
#include "support/tiny_update.hpp"

namespace dormer::test {
namespace {

/// Hands on to the functor loops and notes which operations were asked for.
class NotingLoops final : public kernels::ComputedBy<NotingLoops> {
 public:
  template <typename Arguments>
  void compute(const Arguments& arguments, std::int64_t count) const {
    {
      const std::scoped_lock lock(using_);
      used.insert(typeid(Arguments));
    }
    loops_->run(arguments, count);
  }
  mutable std::set<std::type_index> used;

 private:
  mutable std::mutex using_;
  std::unique_ptr<kernels::Kernels> loops_ = kernels::functor_loops();
};

class Dispatch : public ::testing::Test {
 protected:
  void SetUp() override { write_tiny_model(folder_.path()); }
  TempDirectory folder_;
};

/// The host loops, too, on a GPU's way to the norms: in bfloat16 another last bit of a norm grows to tenths of a
/// gradient.
TEST_F(Dispatch, AnUpdateByTheFunctorsIsTheUpdateByTheHostLoops) {
  const std::unique_ptr<kernels::Kernels> loops = kernels::host_loops(&tensor::for_parts);
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const std::vector<at::Tensor> expected = [&] {
      const tensor::KernelsReplaced replaced(*loops);
      return one_update(folder_.path(), dtype);
    }();
    const NotingLoops functors;
    const tensor::KernelsReplaced replaced(functors);
    expect_close(one_update(folder_.path(), dtype), expected, update_tolerance(dtype));
  }
}

TEST(CappedAttention, ByTheFunctorsIsThatByTheHostLoops) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const std::vector<at::Tensor> expected = capped_attention(dtype);
    const NotingLoops functors;
    const tensor::KernelsReplaced replaced(functors);
    expect_close(capped_attention(dtype), expected, update_tolerance(dtype));
  }
}

TEST(ScaledImages, ByTheFunctorsAreThoseByTheHostLoops) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const std::vector<at::Tensor> expected = scaled_images(dtype);
    const NotingLoops functors;
    const tensor::KernelsReplaced replaced(functors);
    expect_close(scaled_images(dtype), expected, update_tolerance(dtype));
  }
}

template <typename... Arguments>
std::set<std::type_index> types_of(kernels::OperationList<Arguments...>) {
  return {typeid(Arguments)...};
}

void add_two_leaves() {
  const parallel::ReductionPlan plan =
      parallel::plan_reduction({.micro_batches = 2, .flat_size = parallel::kNormBlock});
  const std::unique_ptr<comm::Communicator> alone = comm::single();
  const auto reducer = parallel::gradient_reducer(plan, *alone);
  for (int leaf = 0; leaf < 2; ++leaf) {
    reducer->next_leaf_buffer()[7] = 1.5F;
    reducer->complete_leaf({1.0, 1});
  }
  EXPECT_EQ(reducer->reduce({}).squared_norm, 9.0);
}

void update_with_every_optimizer() {
  constexpr std::int64_t kSize = parallel::kNormBlock;
  const std::vector<tensor::ParameterEntry> entries{{"a", {4, 64}, {16, 64}, tensor::ParameterRole::kFactorIn, 0}};
  optim::OptimizerSettings settings;
  settings.factors.learning_rate = 1.0;
  const Registry<optim::OptimizerKind> kinds = optim::optimizer_registry();
  for (const auto& [name, kind] : kinds.entries()) {
    const auto optimizer = kind({.settings = settings,
                                 .groups = optim::plan_groups(entries, kSize, settings),
                                 .slice = {0, kSize},
                                 .entries = entries});
    std::vector<float> values(kSize, 0.0F);
    std::vector<float> gradients(kSize, 0.0F);
    std::fill_n(gradients.begin(), 256, 0.5F);
    optimizer->update(values, gradients, {.step = 0});
    EXPECT_LT(values[7], 0.0F) << name;
    static_cast<void>(optimizer->state());
    optimizer->close_state(true);
  }
}

/// An operation that nobody asks for was called past the choice of the device.
TEST_F(Dispatch, EveryOperationIsChosenByTheDevice) {
  const NotingLoops functors;
  {
    const tensor::KernelsReplaced replaced(functors);
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      static_cast<void>(one_update(folder_.path(), dtype));
      static_cast<void>(capped_attention(dtype));
      static_cast<void>(scaled_images(dtype));
    }
    add_two_leaves();
    update_with_every_optimizer();
  }
  const std::set<std::type_index> expected = types_of(kernels::EveryOperation{});
  for (const std::type_index operation : expected) {
    EXPECT_TRUE(functors.used.contains(operation)) << operation.name();
  }
}

}  // namespace
}  // namespace dormer::test
