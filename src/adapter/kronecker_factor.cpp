#include "kronecker_factor.hpp"

#include <functional>
#include <numeric>
#include <utility>

#include <ATen/ops/mm.h>

#include "initial_values.hpp"
#include "low_rank.hpp"

namespace dormer::adapter {
namespace {

std::vector<std::int64_t> joined(std::vector<std::int64_t> sizes, const std::vector<std::int64_t>& more) {
  sizes.insert(sizes.end(), more.begin(), more.end());
  return sizes;
}

}  // namespace

KroneckerFactor::KroneckerFactor(tensor::FlatSpace& space, KroneckerFactorShape shape, const std::string& name,
                                 const std::string& middle_name)
    : space_(space), shape_(std::move(shape)) {
  const std::int64_t rank = shape_.rank;
  if (whole()) {
    const std::vector<std::int64_t> sizes = joined({shape_.rows, shape_.columns}, shape_.kernel);
    first_ = space.add(name, sizes, sizes, tensor::ParameterRole::kFactorIn);
    return;
  }
  first_ = add_factor(space, name + "_a", {rank, shape_.rows});
  if (shape_.tucker) {
    const std::vector<std::int64_t> sizes = tucker_middle_shape(rank, shape_.kernel);
    middle_ = space.add(middle_name, sizes, sizes, tensor::ParameterRole::kFactorIn);
    right_ = add_factor(space, name + "_b", {rank, shape_.columns});
  } else {
    right_ = add_factor(space, name + "_b", joined({rank, shape_.columns}, shape_.kernel));
  }
}

std::int64_t KroneckerFactor::taps() const {
  return std::accumulate(shape_.kernel.begin(), shape_.kernel.end(), std::int64_t{1}, std::multiplies<>());
}

at::Tensor KroneckerFactor::part(const at::Tensor& stored) const {
  return shape_.tucker ? stored.narrow(0, 0, shape_.rank) : stored;
}

void KroneckerFactor::initialize(RandomKey key, bool zero) {
  if (whole()) {
    if (zero) {
      space_.value(first_).zero_();
    } else {
      draw_uniform(space_, first_, key, shape_.columns * taps());
    }
    return;
  }
  draw_uniform(space_, first_, key, shape_.tucker ? shape_.rows : shape_.rank);
  if (shape_.tucker) {
    draw_uniform(space_, middle_, key, shape_.rank * taps());
  }
  if (zero) {
    space_.value(right_).zero_();
  } else {
    draw_uniform(space_, right_, key, shape_.tucker ? shape_.columns : shape_.columns * taps());
  }
}

at::Tensor KroneckerFactor::values() const {
  const at::Tensor first = space_.value(first_);
  if (whole()) {
    return first.flatten(1);
  }
  const at::Tensor right = part(space_.value(right_));
  return at::mm(part(first).t(), shape_.tucker ? tucker_factor(space_.value(middle_), right) : right.flatten(1));
}

void KroneckerFactor::add_gradient(const at::Tensor& gradient) const {
  const at::Tensor first_slot = space_.gradient(first_);
  if (whole()) {
    first_slot.add_(gradient.view(first_slot.sizes()));
    return;
  }
  const at::Tensor left = part(space_.value(first_));
  const at::Tensor right = part(space_.value(right_));
  const at::Tensor factor = shape_.tucker ? tucker_factor(space_.value(middle_), right) : right.flatten(1);
  part(first_slot).addmm_(factor, gradient.t());
  const at::Tensor right_gradient = at::mm(left, gradient);
  if (shape_.tucker) {
    add_tucker_gradients(right_gradient, space_.value(middle_), right, space_.gradient(middle_),
                         part(space_.gradient(right_)));
  } else {
    const at::Tensor slot = space_.gradient(right_);
    slot.add_(right_gradient.view(slot.sizes()));
  }
}

}  // namespace dormer::adapter
