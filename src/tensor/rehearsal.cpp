#include "dormer/tensor/rehearsal.hpp"

#include <array>
#include <initializer_list>
#include <optional>
#include <string_view>
#include <tuple>
#include <vector>

#include <ATen/core/List.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/SymIntArrayRef.h>
#include <c10/util/OptionalArrayRef.h>
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

using Norms = std::tuple<at::Tensor, at::Tensor, at::Tensor>;

/// Statistics are of the dtype of weights.
at::Tensor statistics(const at::Tensor& x, std::vector<std::int64_t> sizes) {
  return at::empty(sizes, x.options());
}

Norms group_norm_shape(const at::Tensor& x, const std::optional<at::Tensor>& /*weight*/,
                       const std::optional<at::Tensor>& /*bias*/, c10::SymInt samples, c10::SymInt /*channels*/,
                       c10::SymInt /*extent*/, std::int64_t groups, double /*epsilon*/) {
  const std::vector<std::int64_t> sizes{samples.expect_int(), groups};
  return {at::empty(x.sizes(), x.options()), statistics(x, sizes), statistics(x, sizes)};
}

Norms group_norm_backward_shape(const at::Tensor& /*gradient*/, const at::Tensor& x, const at::Tensor& /*mean*/,
                                const at::Tensor& /*deviation*/, const std::optional<at::Tensor>& /*weight*/,
                                c10::SymInt /*samples*/, c10::SymInt /*channels*/, c10::SymInt /*extent*/,
                                std::int64_t /*groups*/, std::array<bool, 3> /*mask*/) {
  return {at::empty(x.sizes(), x.options()), at::Tensor(), at::Tensor()};
}

Norms layer_norm_shape(const at::Tensor& x, c10::SymIntArrayRef normed, const std::optional<at::Tensor>& /*weight*/,
                       const std::optional<at::Tensor>& /*bias*/, double /*epsilon*/) {
  std::vector<std::int64_t> sizes = x.sizes().vec();
  for (std::size_t place = sizes.size() - normed.size(); place < sizes.size(); ++place) {
    sizes[place] = 1;
  }
  return {at::empty(x.sizes(), x.options()), statistics(x, sizes), statistics(x, sizes)};
}

Norms layer_norm_backward_shape(const at::Tensor& /*gradient*/, const at::Tensor& x, c10::SymIntArrayRef /*normed*/,
                                const at::Tensor& /*mean*/, const at::Tensor& /*deviation*/,
                                const std::optional<at::Tensor>& /*weight*/, const std::optional<at::Tensor>& /*bias*/,
                                std::array<bool, 3> /*mask*/) {
  return {at::empty(x.sizes(), x.options()), at::Tensor(), at::Tensor()};
}

/// oneDNN computes convolutions in layouts of its own: what goes in exists a second time meanwhile (as measured).
std::vector<at::Tensor> convolution_copies(std::initializer_list<const at::Tensor*> tensors) {
  std::vector<at::Tensor> copies;
  for (const at::Tensor* values : tensors) {
    if (product_path() == ProductPath::kOneDnn) {
      copies.push_back(at::empty(values->sizes(), values->options()));
    }
  }
  return copies;
}

at::Tensor convolution_shape(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& /*bias*/,
                             c10::SymIntArrayRef stride, c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation,
                             bool /*transposed*/, c10::SymIntArrayRef /*output_padding*/, c10::SymInt /*groups*/) {
  std::vector<std::int64_t> sizes{x.size(0), weight.size(0)};
  for (std::size_t place = 0; place < stride.size(); ++place) {
    const auto dimension = static_cast<std::int64_t>(place) + 2;
    const std::int64_t taps = dilation[place].expect_int() * (weight.size(dimension) - 1) + 1;
    sizes.push_back((x.size(dimension) + 2 * padding[place].expect_int() - taps) / stride[place].expect_int() + 1);
  }
  at::Tensor result = at::empty(sizes, x.options());
  const std::vector<at::Tensor> copies = convolution_copies({&x, &weight});
  return result;
}

Norms convolution_backward_shape(const at::Tensor& gradient, const at::Tensor& x, const at::Tensor& weight,
                                 c10::OptionalArrayRef<c10::SymInt> /*bias*/, c10::SymIntArrayRef /*stride*/,
                                 c10::SymIntArrayRef /*padding*/, c10::SymIntArrayRef /*dilation*/, bool /*transposed*/,
                                 c10::SymIntArrayRef /*output_padding*/, c10::SymInt /*groups*/,
                                 std::array<bool, 3> mask) {
  Norms result{mask[0] ? at::empty(x.sizes(), x.options()) : at::Tensor(),
               mask[1] ? at::empty(weight.sizes(), weight.options()) : at::Tensor(), at::Tensor()};
  const std::vector<at::Tensor> copies = convolution_copies({&gradient, &weight});
  return result;
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
  state_->shapes.impl("native_group_norm", &group_norm_shape);
  state_->shapes.impl("native_group_norm_backward", &group_norm_backward_shape);
  state_->shapes.impl("native_layer_norm", &layer_norm_shape);
  state_->shapes.impl("native_layer_norm_backward", &layer_norm_backward_shape);
  state_->shapes.impl("convolution", &convolution_shape);
  state_->shapes.impl("convolution_backward", &convolution_backward_shape);
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
