#include <cstdint>

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/model/language_model.hpp"
#include "dormer/objective/next_token.hpp"
#include "dormer/tensor/memory.hpp"
#include "dormer/tensor/operations.hpp"
#include "dormer/tensor/process.hpp"
#include "support/temp_directory.hpp"
#include "support/tiny_model.hpp"

namespace dormer::objective {
namespace {

constexpr std::int64_t kSamples = 2;
constexpr std::int64_t kLength = 128;
constexpr std::int64_t kHidden = 64;

/// Bytes that one micro-batch needs at its peak above what model, adapters and gradients hold.
std::int64_t activation_peak(std::int64_t blocks, bool recompute) {
  const test::TempDirectory folder;
  test::write_tiny_model(folder.path(), {.hidden = kHidden, .blocks = blocks});
  const auto model = model::load_language_model(folder.path(), DType::kF32);
  adapter::AdapterConfig config;
  config.rank = 4;
  config.decompose.emplace();
  adapter::AdapterSet adapters(config, model->layers(), RandomKey{3});
  const at::Tensor gradient = at::ones({adapters.space().size()}, at::kFloat);
  adapters.space().bind_gradient(gradient);
  const at::Tensor tokens = at::arange(kSamples * (kLength + 1), at::kLong).remainder(256).view({kSamples, -1});
  const data::TokenBatch batch{tokens, tokens.narrow(1, 1, kLength).contiguous(), {}};
  const std::int64_t before = tensor::memory_use().live;
  tensor::reset_peak_memory();
  const LossSums loss = next_token_loss(*model, batch, adapter::Pack::solo(&adapters, kSamples),
                                        {.divisor = 1.0, .backward = true, .recompute_blocks = recompute});
  EXPECT_GT(loss.loss_sum, 0.0);
  EXPECT_EQ(tensor::memory_use().live, before) << "a micro-batch leaves tensors behind";
  return tensor::memory_use().peak - before;
}

class Memory : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { tensor::configure_process(1); }
};

TEST_F(Memory, RecomputationLeavesEveryBlockItsInputAlone) {
  const std::int64_t input = kSamples * kLength * kHidden * 4;
  const std::int64_t kept = (activation_peak(12, false) - activation_peak(6, false)) / 6;
  const std::int64_t recomputed = (activation_peak(12, true) - activation_peak(6, true)) / 6;
  // A block keeps about: two normed inputs, their sums, query, key, value, probabilities, gate, up and their product.
  EXPECT_GT(kept, 8 * input);
  // One input a block; an allocation is rounded up by a few bytes, not always by the same.
  EXPECT_NEAR(static_cast<double>(recomputed), static_cast<double>(input), 4'096.0);
}

std::int64_t loss_peak(std::int64_t vocabulary) {
  const at::Tensor hidden = at::full({512, 8}, 0.1, at::kFloat).requires_grad_(true);
  const at::Tensor head = at::ones({vocabulary, 8}, at::kFloat);
  const at::Tensor targets = at::arange(512, at::kLong);
  const std::int64_t before = tensor::memory_use().live;
  tensor::reset_peak_memory();
  const tensor::CrossEntropySums sums = tensor::linear_cross_entropy(hidden, head, targets, {1.0, true, 0.0});
  EXPECT_EQ(sums.targets, 512);
  return tensor::memory_use().peak - before;
}

TEST_F(Memory, TheLossDoesNotGrowWithTheVocabulary) {
  const std::int64_t bound = (std::int64_t{1} << 24) * 4;                // 16 Mi logits in fp32
  const std::int64_t small_numbers = 3 * 512 * 8 * 4 + 512 * 4 + 4'096;  // gradients of the hidden states, losses
  for (const std::int64_t vocabulary : {65'536, 100'003, 262'144, 524'288}) {
    EXPECT_LE(loss_peak(vocabulary), bound + small_numbers) << "vocabulary " << vocabulary;
  }
}

}  // namespace
}  // namespace dormer::objective
