#include "dormer/tensor/rehearsal.hpp"

#include <optional>
#include <string_view>
#include <vector>

#include <ATen/core/List.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "dormer/core/error.hpp"
#include "dormer/tensor/device_kernels.hpp"

namespace dormer::tensor {
namespace {

class Nothing final : public kernels::ComputedBy<Nothing> {
 public:
  template <typename Arguments>
  void compute(const Arguments& /*arguments*/, std::int64_t /*count*/) const {}
};

at::Tensor index_select_shape(const at::Tensor& self, std::int64_t dimension, const at::Tensor& index) {
  invariant(self.device() == index.device(), "{} rows of a table on {}", index.device().str(), self.device().str());
  std::vector<std::int64_t> sizes = self.sizes().vec();
  sizes.at(static_cast<std::size_t>(dimension)) = index.numel();
  return at::empty(sizes, self.options());
}

at::Tensor nonzero_shape(const at::Tensor& self) {
  return at::empty({self.numel(), self.dim()}, self.options().dtype(at::kLong));
}

at::Tensor where_shape(const at::Tensor& /*condition*/, const at::Tensor& self, const at::Tensor& /*other*/) {
  return at::empty(self.sizes(), self.options());
}

at::Tensor& absolute_shape(const at::Tensor& self, at::Tensor& out) {
  out.resize_(self.sizes());
  return out;
}

/// oneDNN takes x contiguous and the weight as it is.
at::Tensor linear_shape(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& /*bias*/,
                        std::string_view /*attribute*/, c10::List<std::optional<at::Scalar>> /*scalars*/,
                        std::optional<std::string_view> /*algorithm*/) {
  const at::Tensor taken = x.contiguous();
  return at::empty({taken.size(0), weight.size(0)}, x.options());
}

}  // namespace

struct Rehearsal::State {
  Nothing nothing{};
  KernelsReplaced replaced{nothing};
  ProductPath products_before = product_path();
  std::int64_t copies = 0;
  // Taken back by their destructors. Ordinary tensors never reach what is registered for this device alone.
  torch::Library shapes{torch::Library::IMPL, "aten", c10::DispatchKey::Meta, __FILE__, __LINE__};
  torch::Library products{torch::Library::IMPL, "mkldnn", c10::DispatchKey::Meta, __FILE__, __LINE__};
};

Rehearsal::Rehearsal(ProductPath products) : state_(std::make_unique<State>()) {
  state_->shapes.impl("abs.out", &absolute_shape);
  state_->shapes.impl("index_select", &index_select_shape);
  state_->shapes.impl("nonzero", &nonzero_shape);
  state_->shapes.impl("where.self", &where_shape);  // of tensors of one shape
  // Losses that are finite and factors that are safely not zero: what a run meets as a rule.
  state_->shapes.impl("copy_", [state = state_.get()](at::Tensor& self, const at::Tensor&, bool) -> at::Tensor& {
    if (!self.is_meta()) {
      ++state->copies;
      self.fill_(1);
    }
    return self;
  });
  if (products == ProductPath::kOneDnn) {
    state_->products.impl("_linear_pointwise", &linear_shape);
  }
  set_product_path(products);
}

Rehearsal::~Rehearsal() {
  set_product_path(state_->products_before);
}

std::int64_t Rehearsal::copies_to_the_host() const {
  return state_->copies;
}

}  // namespace dormer::tensor
