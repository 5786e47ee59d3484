#include "dormer/adapter/effective_weight.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include "adapter.hpp"
#include "dormer/core/error.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "layer_operation.hpp"

namespace dormer::adapter {

void for_effective_rows(const AdapterSet& adapters, const Site& site, const at::Tensor& weight,
                        const std::function<void(std::int64_t first, const at::Tensor& rows)>& visit) {
  const tensor::NoRecording guard;
  const Adapter* adapter = adapters.find(site.index);
  invariant(adapter != nullptr, "{} has no adapter", site.name);
  const Decomposition* decomposition = adapter->decomposition();
  const at::Tensor factor = decomposition == nullptr ? at::Tensor() : decomposition->factor().cpu();
  const at::Tensor on_host = weight.cpu();
  const auto visit_block = [&](std::int64_t first, std::int64_t count) {
    at::Tensor rows = matrix_rows(site, on_host, first, count).add(adapter->change().dense_rows(first, count).cpu());
    if (decomposition != nullptr && decomposition->axis() == Axis::kOutput) {
      rows.mul_(factor.narrow(0, first, count).unsqueeze(1));
    } else if (decomposition != nullptr) {
      rows.view({count, site.channels(), -1}).mul_(factor.view({1, -1, 1}));
    }
    visit(first, rows);
  };
  for_row_blocks(site, visit_block, kEffectiveBlock);
}

at::Tensor effective_weight(const AdapterSet& adapters, const Site& site, const at::Tensor& weight) {
  const bool table = site.form == LayerForm::kEmbedding;
  const at::Tensor result = at::empty(weight.sizes(), at::kFloat);
  const at::Tensor matrix = table ? result.t() : result.view({site.out, site.columns()});
  for_effective_rows(adapters, site, weight, [&](std::int64_t first, const at::Tensor& rows) {
    matrix.narrow(0, first, rows.size(0)).copy_(rows);
  });
  return result;
}

}  // namespace dormer::adapter
