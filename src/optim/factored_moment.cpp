#include "optim/factored_moment.hpp"

#include <algorithm>

#include "dormer/core/error.hpp"
#include "dormer/tensor/device_memory.hpp"
#include "optim/slice_parts.hpp"

namespace dormer::optim {
namespace {

SharedArray array_of(const std::string& name, const at::Tensor& values, const std::string& device) {
  return {.name = name, .shape = values.sizes().vec(), .values = tensor::span_of(values), .device = device};
}

}  // namespace

std::vector<std::int64_t> FactoredMoment::matrix_of(const tensor::ParameterEntry& entry) {
  if (entry.shape.size() < 2) {
    return {entry.count()};
  }
  return {entry.shape.front(), entry.count() / std::max<std::int64_t>(entry.shape.front(), 1)};
}

FactoredMoment::FactoredMoment(std::string name, const tensor::ParameterEntry& entry, const std::string& device)
    : name_(std::move(name)), parameter_(entry.name), device_(device) {
  const std::vector<std::int64_t> matrix = matrix_of(entry);
  if (matrix.size() == 2) {
    rows_ = zeros_on(matrix.front(), device);
  }
  columns_ = zeros_on(matrix.back(), device);
}

void FactoredMoment::add(const at::Tensor& squares, double keep) {
  if (!rows_.defined()) {
    columns_.mul_(keep).add_(squares, 1.0 - keep);
    return;
  }
  rows_.mul_(keep).add_(squares.mean(1), 1.0 - keep);
  columns_.mul_(keep).add_(squares.mean(0), 1.0 - keep);
}

at::Tensor FactoredMoment::normalized(const at::Tensor& values) const {
  if (!rows_.defined()) {
    return values.div(columns_.sqrt());
  }
  // Roots before the product: the product of two small means would be zero in fp32.
  return values.div(rows_.div(rows_.mean()).sqrt().unsqueeze(1)).div_(columns_.sqrt());
}

void FactoredMoment::append_arrays(std::vector<SharedArray>& arrays) const {
  if (rows_.defined()) {
    arrays.push_back(array_of(name_ + "rows/" + parameter_, rows_, device_));
  }
  arrays.push_back(array_of(name_ + "columns/" + parameter_, columns_, device_));
}

std::size_t FactoredMoment::bytes() const {
  return columns_.nbytes() + (rows_.defined() ? rows_.nbytes() : 0);
}

at::Tensor matrix_part(std::span<float> flat, const tensor::ParameterEntry& entry, const std::string& device) {
  const auto part = flat.subspan(static_cast<std::size_t>(entry.offset), static_cast<std::size_t>(entry.count()));
  return tensor::borrowed(part, device).view(FactoredMoment::matrix_of(entry));
}

at::Tensor matrix_part(std::span<const float> flat, const tensor::ParameterEntry& entry, const std::string& device) {
  const auto part = flat.subspan(static_cast<std::size_t>(entry.offset), static_cast<std::size_t>(entry.count()));
  return tensor::borrowed(part, device).view(FactoredMoment::matrix_of(entry));
}

const ParameterGroup& group_of(const std::vector<ParameterGroup>& groups, const tensor::ParameterEntry& entry) {
  const auto found = std::find_if(groups.begin(), groups.end(), [&](const ParameterGroup& group) {
    return group.range.begin <= entry.offset && entry.offset < group.range.end;
  });
  invariant(found != groups.end(), "{} is in no group", entry.name);
  return *found;
}

void clip_root_mean_square(at::Tensor& update, double threshold) {
  update.div_(update.square().mean().sqrt().div(threshold).clamp_min(1.0));
}

}  // namespace dormer::optim
