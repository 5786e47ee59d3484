#include "support/tiny_update.hpp"

#include <cstdint>

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/model/language_model.hpp"
#include "dormer/objective/next_token.hpp"
#include "dormer/optim/optimizer.hpp"
#include "dormer/tensor/column_scaling.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/frozen_product.hpp"
#include "dormer/tensor/operations.hpp"
#include "support/tensor_comparison.hpp"

namespace dormer::test {
namespace {

constexpr std::int64_t kSamples = 2;
constexpr std::int64_t kLength = 40;

/// Rows of two documents, some targets not counted.
data::TokenBatch batch() {
  const at::Tensor tokens = at::empty({kSamples, kLength + 1}, at::kLong);
  const at::Tensor targets = at::empty({kSamples, kLength}, at::kLong);
  const at::Tensor document_begin = at::zeros({kSamples, kLength}, at::kLong);
  for (std::int64_t i = 0; i < tokens.numel(); ++i) {
    tokens.mutable_data_ptr<std::int64_t>()[i] = philox(RandomKey{3}, static_cast<std::uint64_t>(i))[0] % 256;
  }
  for (std::int64_t i = 0; i < targets.numel(); ++i) {
    const std::int64_t position = i % kLength;
    targets.mutable_data_ptr<std::int64_t>()[i] =
        i % 7 == 3 ? -100 : tokens.const_data_ptr<std::int64_t>()[i / kLength * (kLength + 1) + position + 1];
    document_begin.mutable_data_ptr<std::int64_t>()[i] = position < 23 ? 0 : 23;
  }
  return {tokens, targets, document_begin};
}

}  // namespace

std::vector<at::Tensor> one_update(const std::filesystem::path& folder, DType dtype, const std::string& device) {
  const auto model = model::load_language_model(folder, {.dtype = dtype, .device = device});
  adapter::AdapterConfig config;
  config.rank = 4;
  config.dropout = 0.2;
  config.decompose.emplace();
  adapter::AdapterSet adapters(config, model->layers(), RandomKey{5});
  tensor::FlatSpace& space = adapters.space();
  for (std::size_t index = 0; index < space.entries().size(); ++index) {
    if (space.entries()[index].role == tensor::ParameterRole::kFactorOut) {
      const tensor::ParameterEntry& entry = space.entries()[index];
      tensor::FlatSpace::unpadded_part(space.values(), entry).copy_(normal(entry.shape, 11 + index, 0.2));
    }
  }
  space.mark_written();
  adapters.refresh();
  const at::Tensor gradient = at::zeros_like(space.values());
  space.bind_gradient(gradient);
  adapter::Pack pack = adapter::Pack::solo(&adapters, kSamples);
  pack.segments.front().dropout_keys = adapter::dropout_keys(RandomKey{5}, 0, 0, kSamples);
  const objective::LossSums loss =
      objective::next_token_loss(*model, batch(), pack, {.divisor = 70.0, .backward = true});
  optim::OptimizerSettings settings;
  settings.factors.learning_rate = settings.magnitudes.learning_rate = 1e-2;
  const auto optimizer = optim::optimizer_registry().get("optimizer.kind", "adamw")(
      {settings, optim::plan_groups(space.entries(), space.size(), settings), {0, space.size()}, device});
  const auto count = static_cast<std::size_t>(space.size());
  optimizer->update({space.values().mutable_data_ptr<float>(), count}, {gradient.const_data_ptr<float>(), count}, {});
  const at::Tensor sum = at::empty({1}, at::kDouble);
  *sum.mutable_data_ptr<double>() = loss.loss_sum;
  return {sum, gradient.cpu(), space.values().cpu()};
}

double update_tolerance(DType dtype) {
  return dtype == DType::kF32 ? 16.0 * tolerance(at::kFloat, 40 * 112) : tolerance(at::kBFloat16, 1);
}

std::vector<at::Tensor> capped_attention(DType dtype, const std::string& device) {
  const tensor::AttentionShape shape{.batch = 1,
                                     .positions = 12,
                                     .groups = 2,
                                     .heads_per_group = 2,
                                     .width = 8,
                                     .scale = 0.4,
                                     .soft_cap = 5.0,
                                     .window = 7};
  const auto placed = [&](const at::Tensor& values) { return tensor::to_dtype(values, dtype).to(at::Device(device)); };
  const at::Tensor query = placed(normal({12, 32}, 1)).set_requires_grad(true);
  const at::Tensor key = placed(normal({12, 16}, 2)).set_requires_grad(true);
  const at::Tensor value = placed(normal({12, 16}, 3)).set_requires_grad(true);
  const at::Tensor turns = normal({12, 4}, 4).to(at::Device(device));
  const at::Tensor mixed = tensor::causal_attention(query, key, value, {turns, turns}, shape);
  tensor::run_backward(mixed, placed(normal({12, 32}, 5)));
  return {tensor::detached(mixed).cpu(), query.grad().cpu(), key.grad().cpu(), value.grad().cpu()};
}

std::vector<at::Tensor> scaled_images(DType dtype, const std::string& device) {
  const auto placed = [&](const at::Tensor& values) { return tensor::to_dtype(values, dtype).to(at::Device(device)); };
  const at::Tensor factor = normal({6}, 1).to(at::Device(device));
  const at::Tensor bias = placed(normal({6}, 2));
  at::Tensor images = placed(normal({2, 6, 5, 7}, 3));
  tensor::scale_rows(images, factor, bias);
  const at::Tensor gradient = placed(normal({2, 6, 5, 7}, 4));
  const at::Tensor sums = at::zeros({6}, at::TensorOptions().device(at::Device(device)));
  tensor::scale_rows_backward(gradient, images, bias, factor, factor, sums, gradient);
  return {images.cpu(), gradient.cpu(), sums.cpu()};
}

void expect_close(const std::vector<at::Tensor>& actual, const std::vector<at::Tensor>& expected, double tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    EXPECT_LE(relative_error(actual[i], expected[i]), tolerance) << "tensor " << i;
  }
}

void expect_as_near(const std::vector<at::Tensor>& actual, const std::vector<at::Tensor>& other,
                    const std::vector<at::Tensor>& exact) {
  ASSERT_EQ(actual.size(), exact.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const double allowed = 2.0 * relative_error(other.at(i), exact[i]) + tolerance(at::kBFloat16, 1);
    EXPECT_LE(relative_error(actual[i], exact[i]), allowed) << "tensor " << i;
  }
}

}  // namespace dormer::test
