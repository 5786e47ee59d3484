#include "dormer/tensor/base_weight.hpp"

#include <algorithm>
#include <mutex>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>

#include "dormer/core/error.hpp"
#include "dormer/tensor/weight_norms.hpp"
#include "element_dispatch.hpp"

namespace dormer::tensor {

struct BaseWeight::State {
  std::string name;
  at::Tensor values;
  std::shared_ptr<const void> owner;
  bool mapped = false;
  std::once_flag norms_once;
  at::Tensor squared_row_norms;
  std::once_flag column_norms_once;
  at::Tensor squared_column_norms;
};

BaseWeight::BaseWeight(std::string name, const at::Tensor& values, std::shared_ptr<const void> owner, bool mapped)
    : state_(std::make_shared<State>()) {
  invariant(values.is_contiguous(), "a base weight must be contiguous: {}", name);
  state_->name = std::move(name);
  state_->values = values;
  state_->owner = std::move(owner);
  state_->mapped = mapped;
}

const std::string& BaseWeight::name() const {
  return state_->name;
}
const at::Tensor& BaseWeight::values() const {
  return state_->values;
}
std::int64_t BaseWeight::rows() const {
  return state_->values.size(0);
}
std::int64_t BaseWeight::columns() const {
  return state_->values.size(1);
}
std::string BaseWeight::device() const {
  return state_->values.device().str();
}
bool BaseWeight::mapped() const {
  return state_->mapped;
}
bool BaseWeight::defined() const {
  return state_ != nullptr;
}

const at::Tensor& BaseWeight::squared_row_norms() const {
  std::call_once(state_->norms_once, [this] {
    const at::Tensor& values = state_->values;
    const at::Tensor sums = at::empty({values.size(0)}, values.options().dtype(at::kFloat));
    dispatch_element(values, [&]<typename Element>(Element) {
      const kernels::SquaredRowSumsArguments<Element> arguments{data<const Element>(values), data<float>(sums),
                                                                values.numel() / values.size(0)};
      kernels_for(values).run(arguments, values.size(0));
    });
    state_->squared_row_norms = sums;
  });
  return state_->squared_row_norms;
}

const at::Tensor& BaseWeight::squared_column_norms() const {
  std::call_once(state_->column_norms_once, [this] {
    if (by_host_loops(state_->values)) {
      const at::Tensor matrix = state_->values.flatten(1);
      state_->squared_column_norms =
          frozen_column_squares(matrix, matrix.size(1) / state_->values.size(1)).to(at::kFloat);
      return;
    }
    constexpr std::int64_t kElements = std::int64_t{4} << 20;  // of a block in fp64
    const at::Tensor values = state_->values.view({state_->values.size(0), state_->values.size(1), -1});
    const std::int64_t rows = std::max<std::int64_t>(kElements / (values.size(1) * values.size(2)), 1);
    const at::Tensor sums = at::zeros({values.size(1)}, values.options().dtype(at::kDouble));
    for (std::int64_t first = 0; first < values.size(0); first += rows) {
      const at::Tensor block = values.narrow(0, first, std::min(rows, values.size(0) - first)).to(at::kDouble);
      sums.add_(at::sum(at::mul(block, block), at::IntArrayRef{0, 2}));
    }
    state_->squared_column_norms = sums.to(at::kFloat);
  });
  return state_->squared_column_norms;
}

}  // namespace dormer::tensor
