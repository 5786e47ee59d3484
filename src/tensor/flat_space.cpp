#include "dormer/tensor/flat_space.hpp"

#include <algorithm>
#include <numeric>
#include <unordered_map>
#include <utility>

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>

#include "dormer/core/error.hpp"

namespace dormer::tensor {
namespace {

std::int64_t product(const std::vector<std::int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

struct FlatSpace::State {
  std::vector<ParameterEntry> entries;
  std::unordered_map<std::string, std::size_t> indices;
  std::int64_t size = 0;
  at::Tensor values;
  at::Tensor gradient;
  GradientListener listener;
  std::uint64_t generation = 1;
  std::int64_t updates_done = 0;
};

std::int64_t ParameterEntry::count() const {
  return product(shape);
}
std::int64_t ParameterEntry::stored_count() const {
  return product(stored_shape);
}

FlatSpace::FlatSpace() : state_(std::make_unique<State>()) {}
FlatSpace::~FlatSpace() = default;
FlatSpace::FlatSpace(FlatSpace&&) noexcept = default;
FlatSpace& FlatSpace::operator=(FlatSpace&&) noexcept = default;

std::size_t FlatSpace::add(std::string name, std::vector<std::int64_t> shape, std::vector<std::int64_t> stored_shape,
                           ParameterRole role) {
  invariant(!state_->values.defined(), "parameters are added before the flat space is allocated: {}", name);
  invariant(shape.size() == stored_shape.size() &&
                std::equal(shape.begin() + 1, shape.end(), stored_shape.begin() + 1) &&
                shape.front() <= stored_shape.front(),
            "only the first dimension may be padded: {}", name);
  ParameterEntry entry{std::move(name), std::move(shape), std::move(stored_shape), role,
                       round_up(state_->size, kAlignment)};
  state_->size = entry.offset + entry.stored_count();
  const bool fresh = state_->indices.emplace(entry.name, state_->entries.size()).second;
  invariant(fresh, "two parameters have one name: {}", entry.name);
  state_->entries.push_back(std::move(entry));
  return state_->entries.size() - 1;
}

void FlatSpace::set_updates(std::size_t first, std::optional<double> learning_rate,
                            std::optional<std::int64_t> stop_after) {
  for (std::size_t index = first; index < state_->entries.size(); ++index) {
    state_->entries[index].learning_rate = learning_rate;
    state_->entries[index].stop_after = stop_after;
  }
}

void FlatSpace::set_updates_done(std::int64_t updates) {
  state_->updates_done = updates;
}

bool FlatSpace::trains(std::size_t index) const {
  const std::optional<std::int64_t>& stop = state_->entries.at(index).stop_after;
  return !stop || state_->updates_done < *stop;
}

void FlatSpace::allocate(const std::string& device) {
  state_->size = round_up(state_->size, kNormBlock);
  state_->values = at::zeros({state_->size}, at::TensorOptions(at::kFloat).device(at::Device(device)));
}

std::span<const ParameterEntry> FlatSpace::entries() const {
  return state_->entries;
}

std::size_t FlatSpace::index_of(const std::string& name) const {
  const auto found = state_->indices.find(name);
  invariant(found != state_->indices.end(), "no parameter of this name: {}", name);
  return found->second;
}

bool FlatSpace::contains(const std::string& name) const {
  return state_->indices.contains(name);
}

std::int64_t FlatSpace::size() const {
  return state_->size;
}
const at::Tensor& FlatSpace::values() const {
  return state_->values;
}
at::Tensor FlatSpace::value(std::size_t index) const {
  return part(state_->values, state_->entries.at(index));
}

at::Tensor FlatSpace::part(const at::Tensor& flat, const ParameterEntry& entry) {
  return flat.narrow(0, entry.offset, entry.stored_count()).view(entry.stored_shape);
}

at::Tensor FlatSpace::unpadded_part(const at::Tensor& flat, const ParameterEntry& entry) {
  return flat.narrow(0, entry.offset, entry.count()).view(entry.shape);
}

void FlatSpace::bind_gradient(const at::Tensor& flat) {
  invariant(flat.numel() == state_->size, "the gradient buffer has another size: {} instead of {}", flat.numel(),
            state_->size);
  state_->gradient = flat;
}

at::Tensor FlatSpace::gradient(std::size_t index) const {
  invariant(state_->gradient.defined(), "no gradient buffer is bound: {}", state_->entries.at(index).name);
  return part(state_->gradient, state_->entries.at(index));
}

bool FlatSpace::has_gradient() const {
  return state_->gradient.defined();
}
void FlatSpace::listen(GradientListener listener) {
  state_->listener = std::move(listener);
}
void FlatSpace::announce(std::size_t index) const {
  if (state_->listener) {
    state_->listener(index);
  }
}
std::uint64_t FlatSpace::generation() const {
  return state_->generation;
}
void FlatSpace::mark_written() {
  ++state_->generation;
}

}  // namespace dormer::tensor
