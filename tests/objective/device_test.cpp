#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/model/language_model.hpp"
#include "dormer/objective/next_token.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/operations.hpp"
#include "dormer/tensor/rehearsal.hpp"
#include "support/temp_directory.hpp"
#include "support/tiny_model.hpp"

namespace dormer::test {
namespace {

/// It computes nothing, but refuses tensors of two devices in one operation, as a GPU does.
const char* const kMeta = tensor::kShapesDevice;

class OnItsDevice : public ::testing::Test {
 protected:
  OnItsDevice() {
    write_tiny_model(folder_.path());
    model_ = model::load_language_model(folder_.path(), {.dtype = DType::kBF16, .device = kMeta});
  }
  TempDirectory folder_;
  tensor::Rehearsal rehearsal_{tensor::ProductPath::kPlain};
  std::unique_ptr<model::LanguageModel> model_;
  at::Tensor tokens_ = at::zeros({2, 24}, at::kLong);
};

TEST_F(OnItsDevice, AForwardPassStaysThereAndNeverAsksTheHost) {
  const tensor::NoRecording guard;
  const at::Tensor document_begin = at::zeros({2, 24}, at::kLong);
  for (const at::Tensor* documents : {static_cast<const at::Tensor*>(nullptr), &document_begin}) {
    const at::Tensor hidden = model_->hidden_states({.tokens = tokens_, .document_begin = documents},
                                                    adapter::Pack::solo(nullptr, 2), nullptr);
    EXPECT_EQ(hidden.device().str(), kMeta);
  }
}

TEST_F(OnItsDevice, AForwardPassWithACacheStaysThere) {
  const tensor::NoRecording guard;
  const auto cache = model_->make_cache();
  for (int part = 0; part < 2; ++part) {
    const at::Tensor hidden = model_->hidden_states({.tokens = tokens_}, adapter::Pack::solo(nullptr, 2), cache.get());
    EXPECT_EQ(hidden.device().str(), kMeta);
  }
}

TEST_F(OnItsDevice, ABackwardPassStaysThere) {
  const auto placed = [](at::IntArrayRef shape) {
    return at::empty(shape, at::TensorOptions(at::kBFloat16).device(at::Device(kMeta)));
  };
  const at::Tensor leaf = placed({48, 64}).set_requires_grad(true);
  const at::Tensor weight = at::empty({64}, at::TensorOptions(at::kFloat).device(at::Device(kMeta)));
  const at::Tensor x = tensor::rms_norm(leaf, weight, 1e-5);
  const at::Tensor turns = at::empty({24, 8}, weight.options());
  const tensor::AttentionShape shape{
      .batch = 2, .positions = 24, .groups = 4, .heads_per_group = 1, .width = 16, .soft_cap = 5.0};
  const at::Tensor mixed = tensor::causal_attention(x, x, x, {turns, turns}, shape);
  const at::Tensor result = tensor::add(leaf, tensor::gated_unit(mixed, x, tensor::GateFunction::kSilu));
  tensor::run_backward(result, placed({48, 64}));
  EXPECT_EQ(leaf.grad().device().str(), kMeta);
}

TEST_F(OnItsDevice, AMicroBatchWithADecomposedAdapterIsCopiedToTheHostOnce) {
  adapter::AdapterConfig config;
  config.rank = 4;
  config.dropout = 0.2;
  config.decompose.emplace();
  adapter::AdapterSet adapters(config, model_->layers(), RandomKey{5});
  tensor::FlatSpace& space = adapters.space();
  EXPECT_EQ(space.values().device().str(), kMeta);
  const at::Tensor gradient = at::empty_like(space.values());
  space.bind_gradient(gradient);
  adapter::Pack pack = adapter::Pack::solo(&adapters, 2);
  pack.segments.front().dropout_keys = adapter::dropout_keys(RandomKey{5}, 0, 0, 2);
  const data::TokenBatch batch = data::TokenBatch::of_rows(tokens_);
  const std::int64_t before = rehearsal_.copies_to_the_host();
  const objective::LossSums sums =
      objective::next_token_loss(*model_, batch, pack, {.divisor = 46.0, .backward = true});
  EXPECT_EQ(rehearsal_.copies_to_the_host() - before, 1);
  EXPECT_EQ(sums.tokens, 46);
  space.mark_written();
  adapters.refresh();
  EXPECT_EQ(rehearsal_.copies_to_the_host() - before, 2) << "one more for all norms of an update";
}

}  // namespace
}  // namespace dormer::test
