// What a model's backward pass says about its parameters' gradients.
#include <map>
#include <thread>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/objective/next_token.hpp"
#include "support/temp_directory.hpp"
#include "support/tiny_model.hpp"

namespace dormer::objective {
namespace {

class Announcements : public ::testing::TestWithParam<bool> {};

TEST_P(Announcements, ComeOnceForEveryParameterWhenItsGradientIsWholeOnTheCallingThread) {
  const test::TempDirectory folder;
  test::write_tiny_model(folder.path());
  const auto model = model::load_language_model(folder.path(), DType::kF32);
  adapter::AdapterConfig config;
  config.rank = 4;
  config.decompose.emplace();
  adapter::AdapterSet adapters(config, model->layers(), RandomKey{3});
  adapters.space().values().add_(0.01);  // so that no gradient is zero
  adapters.space().mark_written();
  adapters.refresh();
  const at::Tensor gradient = at::zeros({adapters.space().size()}, at::kFloat);
  adapters.space().bind_gradient(gradient);

  const std::thread::id caller = std::this_thread::get_id();
  std::vector<std::size_t> order;
  std::map<std::size_t, at::Tensor> announced;
  adapters.space().listen([&](std::size_t index) {
    EXPECT_EQ(std::this_thread::get_id(), caller) << "a communicator's thread may send from here";
    order.push_back(index);
    announced[index] = adapters.space().gradient(index).clone();
  });
  at::Tensor tokens = at::zeros({2, 17}, at::kLong);
  for (std::int64_t i = 0; i < tokens.numel(); ++i) {
    tokens.mutable_data_ptr<std::int64_t>()[i] = (i * 31 + 7) % 256;
  }
  (void)next_token_loss(*model, data::TokenBatch::of_rows(tokens), adapter::Pack::solo(&adapters, 2),
                        {.divisor = 32.0, .backward = true, .recompute_blocks = GetParam()});

  const std::size_t parameters = adapters.space().entries().size();
  ASSERT_EQ(order.size(), parameters);
  ASSERT_EQ(announced.size(), parameters);
  for (const auto& [index, values] : announced) {
    const at::Tensor last = adapters.space().gradient(index);
    EXPECT_TRUE(values.equal(last)) << adapters.space().entries()[index].name;
    EXPECT_GT(last.abs().max().item<float>(), 0.0F) << adapters.space().entries()[index].name;
  }
  // The last block's parameters before the first block's: the order in which buckets are sent.
  EXPECT_GT(order.front(), parameters / 2);
  EXPECT_LT(order.back(), parameters / 2);
}

INSTANTIATE_TEST_SUITE_P(BackwardPasses, Announcements, ::testing::Bool(),
                         [](const auto& recompute) { return recompute.param ? "recomputed" : "kept"; });

}  // namespace
}  // namespace dormer::objective
