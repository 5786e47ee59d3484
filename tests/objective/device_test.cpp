#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <torch/library.h>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/core/error.hpp"
#include "dormer/kernels/kernels.hpp"
#include "dormer/model/language_model.hpp"
#include "dormer/objective/next_token.hpp"
#include "dormer/tensor/device_kernels.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/operations.hpp"
#include "support/temp_directory.hpp"
#include "support/tiny_model.hpp"

namespace dormer::test {
namespace {

/// LibTorch's device of shapes without memory: it computes nothing, but refuses tensors of two devices in one
/// operation, as a GPU does.
const char* const kMeta = "meta";

// Operations of which this device knows no shape.
at::Tensor index_select_shape(const at::Tensor& self, std::int64_t dimension, const at::Tensor& index) {
  invariant(self.device() == index.device(), "{} rows of a table on {}", index.device().str(), self.device().str());
  std::vector<std::int64_t> sizes = self.sizes().vec();
  sizes.at(static_cast<std::size_t>(dimension)) = index.numel();
  return at::empty(sizes, self.options());
}

at::Tensor& absolute_shape(const at::Tensor& self, at::Tensor& out) {
  out.resize_(self.sizes());
  return out;
}

std::int64_t& copies_to_the_host() {
  static std::int64_t count = 0;
  return count;
}

/// What is copied out is zero, and counted.
at::Tensor& copy_shape(at::Tensor& self, const at::Tensor& /*source*/, bool /*non_blocking*/) {
  if (!self.is_meta()) {
    ++copies_to_the_host();
    self.zero_();
  }
  return self;
}

TORCH_LIBRARY_IMPL(aten, Meta, library) {
  library.impl("abs.out", &absolute_shape);
  library.impl("copy_", &copy_shape);
  library.impl("index_select", &index_select_shape);
}

class Nothing final : public kernels::ComputedBy<Nothing> {
 public:
  template <typename Arguments>
  void compute(const Arguments& /*arguments*/, std::int64_t /*count*/) const {}
};

class OnItsDevice : public ::testing::Test {
 protected:
  OnItsDevice() : replaced_(nothing_) {
    write_tiny_model(folder_.path());
    model_ = model::load_language_model(folder_.path(), {.dtype = DType::kBF16, .device = kMeta});
  }
  TempDirectory folder_;
  Nothing nothing_;
  tensor::KernelsReplaced replaced_;
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
  const std::int64_t before = copies_to_the_host();
  const objective::LossSums sums =
      objective::next_token_loss(*model_, batch, pack, {.divisor = 46.0, .backward = true});
  EXPECT_EQ(copies_to_the_host() - before, 1);
  EXPECT_EQ(sums.tokens, 46);
  space.mark_written();
  adapters.refresh();
  EXPECT_EQ(copies_to_the_host() - before, 2) << "one more for all norms of an update";
}

}  // namespace
}  // namespace dormer::test
