#include <map>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>

#include "cli/benchmarked_model.hpp"
#include "dormer/data/token_batch.hpp"
#include "dormer/model/language_model.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/frozen_product.hpp"

namespace dormer::cli {
namespace {

/// The floor: the frozen model's linear products alone, forward and backward-to-input, blocks and head.
class BenchmarkedText final : public BenchmarkedModel {
 public:
  BenchmarkedText(const BenchmarkWork& work, const std::string& device)
      : work_(work), model_(model::load_language_model(work.model, {.dtype = work.dtype, .device = device})) {
    for (const adapter::FrozenLayer& layer : model_->layers()) {
      if (layer.site.form == adapter::LayerForm::kLinear) {
        weights_.push_back(layer.weight.values());
      }
    }
    weights_.push_back(model_->head().values());
    for (const at::Tensor& weight : weights_) {
      for (const std::int64_t width : weight.sizes()) {
        at::Tensor& input = inputs_[width];
        if (!input.defined()) {  // products of zeros are faster than others on a GPU
          input = at::randn({amount(), width}, weight.options());
        }
      }
    }
  }

  [[nodiscard]] std::span<const adapter::FrozenLayer> layers() const override { return model_->layers(); }
  [[nodiscard]] std::string targets() const override { return "all-linear"; }
  [[nodiscard]] std::string unit() const override { return "tokens"; }
  [[nodiscard]] std::int64_t amount() const override { return work_.samples * work_.length; }
  [[nodiscard]] std::string floor_name() const override { return "floor"; }

  void floor() const override {
    const tensor::NoRecording guard;
    for (const at::Tensor& weight : weights_) {
      static_cast<void>(tensor::multiply_transposed(inputs_.at(weight.size(1)), weight));
      static_cast<void>(tensor::multiply(inputs_.at(weight.size(0)), weight));
    }
  }

  void draw(std::int64_t step) override {
    tokens_ = at::empty({work_.samples, work_.length + 1}, at::kLong);
    auto* values = tokens_.mutable_data_ptr<std::int64_t>();
    const RandomKey key = RandomKey{7}.child("benchmark").child(static_cast<std::uint64_t>(step));
    for (std::int64_t i = 0; i < tokens_.numel(); ++i) {
      values[i] = static_cast<std::int64_t>(philox(key, static_cast<std::uint64_t>(i))[0]) % model_->facts().vocabulary;
    }
  }

  [[nodiscard]] objective::LossSums loss(const adapter::Pack& pack) const override {
    return objective::next_token_loss(*model_, data::TokenBatch::of_rows(tokens_), pack,
                                      {.divisor = static_cast<double>(amount()), .backward = true});
  }

 private:
  BenchmarkWork work_;
  std::unique_ptr<model::LanguageModel> model_;
  std::vector<at::Tensor> weights_{};
  std::map<std::int64_t, at::Tensor> inputs_{};  // by width
  at::Tensor tokens_{};
};

}  // namespace

std::unique_ptr<BenchmarkedModel> benchmarked_text(const BenchmarkWork& work, const std::string& device) {
  return std::make_unique<BenchmarkedText>(work, device);
}

}  // namespace dormer::cli
