#include "dormer/adapter/added_tokens.hpp"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/nonzero.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/core/error.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/frozen_product.hpp"

namespace dormer::adapter {
namespace {

/// The mean row of a table in fp64, by blocks: a half-precision table never exists whole in fp64.
at::Tensor mean_row(const at::Tensor& table) {
  constexpr std::int64_t kBlock = 4'096;
  const at::Tensor sum = at::zeros({table.size(1)}, table.options().dtype(at::kDouble));
  for (std::int64_t first = 0; first < table.size(0); first += kBlock) {
    const std::int64_t rows = std::min(kBlock, table.size(0) - first);
    sum.add_(at::sum(table.narrow(0, first, rows).to(at::kDouble), {0}));
  }
  return sum.div_(static_cast<double>(table.size(0)));
}

std::string module_of(const tensor::BaseWeight& weight) {
  return weight.name().substr(0, weight.name().rfind('.'));
}

/// The added tokens among those of one segment.
struct FoundTokens {
  const AddedTokens* added = nullptr;
  at::Tensor places;  ///< int64: rows of the batch
  at::Tensor rows;    ///< int64: of the trained table
};

std::vector<FoundTokens> find_added(const at::Tensor& tokens, const Pack& pack) {
  const std::int64_t per_sample = tokens.size(0) / pack.samples();
  std::vector<FoundTokens> found;
  for (const Segment& segment : pack.segments) {
    const AddedTokens* added = segment.adapters == nullptr ? nullptr : segment.adapters->added_tokens();
    if (added == nullptr) {
      continue;
    }
    const std::int64_t first = segment.first_sample * per_sample;
    const at::Tensor own = tokens.narrow(0, first, segment.samples * per_sample);
    const at::Tensor places = at::nonzero(own.ge(added->first_token())).reshape({-1});
    found.push_back({added, places.add(first), at::index_select(own, 0, places).sub(added->first_token())});
  }
  return found;
}

}  // namespace

struct AddedTokens::State {
  tensor::FlatSpace& space;
  AddedTokensRequest request;
  std::size_t embedding = 0;
  std::optional<std::size_t> head{};
  at::Tensor embedding_rows{};
  at::Tensor head_rows{};
};

AddedTokens::AddedTokens(const AddedTokensRequest& request, tensor::FlatSpace& space)
    : state_(std::make_unique<State>(State{.space = space, .request = request})) {
  const auto add = [&](const tensor::BaseWeight& table) {
    const std::vector<std::int64_t> shape{request.count, table.columns()};
    return space.add(module_of(table) + kSuffix, shape, shape, tensor::ParameterRole::kFull);
  };
  state_->embedding = add(request.embedding);
  if (request.head.defined()) {
    state_->head = add(request.head);
  }
}
AddedTokens::~AddedTokens() = default;

void AddedTokens::initialize() {
  state_->space.value(state_->embedding).copy_(mean_row(state_->request.embedding.values()));
  if (state_->head) {
    state_->space.value(*state_->head).copy_(mean_row(state_->request.head.values()));
  }
}

void AddedTokens::refresh() {
  const at::ScalarType dtype = state_->request.embedding.values().scalar_type();
  state_->embedding_rows = state_->space.value(state_->embedding).to(dtype);
  state_->head_rows = state_->head ? state_->space.value(*state_->head).to(dtype) : state_->embedding_rows;
}

std::int64_t AddedTokens::first_token() const {
  return state_->request.embedding.rows();
}
std::int64_t AddedTokens::count() const {
  return state_->request.count;
}
std::vector<std::string> AddedTokens::modules() const {
  std::vector<std::string> names{module_of(state_->request.embedding)};
  if (state_->head) {
    names.push_back(module_of(state_->request.head));
  }
  return names;
}
const at::Tensor& AddedTokens::embedding_rows() const {
  return state_->embedding_rows;
}
const at::Tensor& AddedTokens::head_rows() const {
  return state_->head_rows;
}
at::Tensor AddedTokens::head_gradient() const {
  return state_->space.gradient(state_->head.value_or(state_->embedding));
}

void AddedTokens::add_embedding_gradient(const at::Tensor& rows, const at::Tensor& gradient) const {
  state_->space.gradient(state_->embedding).index_add_(0, rows, gradient.to(at::kFloat));
  if (state_->head) {
    state_->space.announce(*state_->head);
  }
  state_->space.announce(state_->embedding);
}

at::Tensor adapted_embedding(const at::Tensor& tokens, const tensor::BaseWeight& embedding, const Pack& pack) {
  const at::Tensor flat = tokens.reshape({-1});
  std::vector<FoundTokens> found = find_added(flat, pack);
  if (found.empty()) {
    return at::index_select(embedding.values(), 0, flat);
  }
  const at::Tensor frozen = flat.masked_fill(flat.ge(embedding.rows()), 0);
  at::Tensor x = at::index_select(embedding.values(), 0, frozen);
  for (const FoundTokens& part : found) {
    x.index_copy_(0, part.places, at::index_select(part.added->embedding_rows(), 0, part.rows));
  }
  tensor::record(x, {tensor::graph_anchor()}, "AdaptedEmbedding",
                 [kept = std::move(found)](const at::Tensor& gradient, const std::vector<bool>&) {
                   for (const FoundTokens& part : kept) {
                     part.added->add_embedding_gradient(part.rows, at::index_select(gradient, 0, part.places));
                   }
                   return std::vector<at::Tensor>(1);
                 });
  return x;
}

at::Tensor adapted_head(const at::Tensor& hidden, const at::Tensor& head, const Pack& pack) {
  const at::Tensor logits = tensor::multiply_transposed(hidden, head);
  const AddedTokens* added = pack.added_tokens();
  return added == nullptr ? logits : at::cat({logits, tensor::multiply_transposed(hidden, added->head_rows())}, 1);
}

}  // namespace dormer::adapter
