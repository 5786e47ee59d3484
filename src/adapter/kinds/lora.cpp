#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sum.h>

#include "dormer/adapter/kinds.hpp"
#include "dormer/core/error.hpp"
#include "dormer/tensor/frozen_product.hpp"
#include "dormer/tensor/weight_norms.hpp"

namespace dormer::adapter::kinds {
namespace {

/// LoRA (Hu et al. 2021): Δ = s B A with A [rank, in] and B [out, rank], stored as A and Bᵀ, padded along the rank.
class LowRankChange final : public Change {
 public:
  LowRankChange(const ChangeRequest& request, tensor::FlatSpace& space)
      : space_(space), scale_(request.scale), in_(request.layer.site.in), compute_like_(request.layer.weight.values()) {
    const adapter::Site& site = request.layer.site;
    const std::int64_t padding = tensor::FlatSpace::kRankPadding;
    const std::int64_t stored = (request.rank + padding - 1) / padding * padding;
    rank_ = request.rank;
    a_ = space.add(site.name + ".lora_A", {rank_, site.in}, {stored, site.in}, tensor::ParameterRole::kFactorIn);
    b_ = space.add(site.name + ".lora_B", {rank_, site.out}, {stored, site.out}, tensor::ParameterRole::kFactorOut);
  }

  void initialize(RandomKey key) override {
    // Kaiming uniform with a = sqrt(5), as PEFT: the bound is 1/sqrt(in).
    const at::Tensor a = tensor::FlatSpace::unpadded_part(space_.values(), space_.entries()[a_]);
    if (a.is_meta()) {  // a rehearsal on shapes has no use for numbers
      return;
    }
    const at::Tensor drawn = at::empty(a.sizes(), at::kFloat);  // on the host; `a` may lie on a device
    float* values = drawn.mutable_data_ptr<float>();
    const float bound = 1.0F / std::sqrt(static_cast<float>(in_));
    const RandomKey own = key.child(space_.entries()[a_].name);
    for (std::int64_t i = 0; i < a.numel(); ++i) {
      const auto words = philox(own, static_cast<std::uint64_t>(i / 4));
      values[i] = (2.0F * to_uniform(words[static_cast<std::size_t>(i % 4)]) - 1.0F) * bound;
    }
    a.copy_(drawn);
    space_.value(b_).zero_();
  }

  void refresh() override {
    const at::Tensor scaled = at::mul(space_.value(b_), scale_);
    a_compute_ = space_.value(a_).to(compute_like_.scalar_type());
    scaled_b_compute_ = scaled.to(compute_like_.scalar_type());
  }

  std::vector<at::Tensor> add_forward(const at::Tensor& x, at::Tensor& y) const override {
    at::Tensor projected = tensor::multiply_transposed(x, a_compute_);  // [rows, rank]
    y.addmm_(projected, scaled_b_compute_);
    return {std::move(projected)};
  }

  void backward(const at::Tensor& gradient, const at::Tensor& x, const std::vector<at::Tensor>& saved,
                at::Tensor& x_gradient) const override {
    const at::Tensor& projected = saved.front();
    const at::Tensor projected_gradient =
        tensor::multiply_transposed(gradient, scaled_b_compute_);  // s g B: [rows, rank]
    if (space_.trains(a_)) {
      space_.gradient(b_).add_(tensor::multiply(projected.t(), gradient), scale_);
      space_.gradient(a_).add_(tensor::multiply(projected_gradient.t(), x));
    }
    if (x_gradient.defined()) {
      x_gradient.addmm_(projected_gradient, a_compute_);
    }
  }

  NormTerms norm_terms(const tensor::BaseWeight& weight) const override {
    const at::Tensor a = space_.value(a_);
    const at::Tensor b = space_.value(b_);
    const at::Tensor gram = at::mm(a, a.t());  // A Aᵀ: [rank, rank]
    const at::Tensor square = at::sum(at::mul(at::mm(gram, b), b), {0}).mul_(scale_ * scale_);
    return {{cross_term(weight.values(), a, b), square}};
  }

  void replace_cancelling_norms(const tensor::BaseWeight& weight, const at::Tensor& cancels,
                                const at::Tensor& norm) const override {
    tensor::cancelling_norms(weight.values(), {space_.value(a_), space_.value(b_), scale_}, cancels, norm);
  }

  at::Tensor dense_rows(const at::Tensor& rows) const override {
    return at::mm(space_.value(b_).t().index_select(0, rows), space_.value(a_)).mul_(scale_);
  }

 private:
  /// s rowsum((W Aᵀ) ∘ B), in blocks of rows so that a half-precision W never exists whole in fp32.
  at::Tensor cross_term(const at::Tensor& weight, const at::Tensor& a, const at::Tensor& b) const {
    constexpr std::int64_t kBlock = 1'024;
    const at::Tensor cross = at::sum(b, {0});  // [out], every element is written below
    for (std::int64_t first = 0; first < weight.size(0); first += kBlock) {
      const std::int64_t rows = std::min(kBlock, weight.size(0) - first);
      const at::Tensor block = weight.narrow(0, first, rows).to(at::kFloat);
      const at::Tensor products = tensor::multiply_transposed(block, a);  // [rows, rank]
      cross.narrow(0, first, rows).copy_(at::sum(at::mul(products, b.narrow(1, first, rows).t()), {1}).mul_(scale_));
    }
    return cross;
  }

  tensor::FlatSpace& space_;
  double scale_;
  std::int64_t in_;
  std::int64_t rank_ = 0;
  at::Tensor compute_like_;
  std::size_t a_ = 0;
  std::size_t b_ = 0;
  at::Tensor a_compute_;         // [rank, in]
  at::Tensor scaled_b_compute_;  // s Bᵀ: [rank, out]
};

}  // namespace

AdapterKind lora() {
  return {.doc = "Low-rank factors: W + (alpha / rank) B A.",
          .build = [](const ChangeRequest& request, tensor::FlatSpace& space) -> std::unique_ptr<Change> {
            return std::make_unique<LowRankChange>(request, space);
          }};
}

}  // namespace dormer::adapter::kinds
