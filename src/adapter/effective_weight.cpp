#include "dormer/adapter/effective_weight.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mul.h>

#include "adapter.hpp"
#include "dormer/core/error.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "layer_operation.hpp"

namespace dormer::adapter {

at::Tensor effective_weight(const AdapterSet& adapters, const Site& site, const at::Tensor& weight) {
  const tensor::NoRecording guard;
  const Adapter* adapter = adapters.find(site.index);
  invariant(adapter != nullptr, "{} has no adapter", site.name);
  const Decomposition* decomposition = adapter->decomposition();
  const at::Tensor factor = decomposition == nullptr ? at::Tensor() : decomposition->factor().cpu();
  const at::Tensor on_host = weight.cpu();
  const bool table = site.form == LayerForm::kEmbedding;
  const at::Tensor result = at::empty({site.out, table ? site.in : site.columns()}, at::kFloat);
  for_row_blocks(site, [&](std::int64_t first, std::int64_t count) {
    at::Tensor rows = matrix_rows(site, on_host, first, count).add(adapter->change().dense_rows(first, count).cpu());
    if (decomposition != nullptr && decomposition->axis() == Axis::kOutput) {
      rows.mul_(factor.narrow(0, first, count).unsqueeze(1));
    } else if (decomposition != nullptr) {
      rows = at::mul(rows.view({count, site.channels(), -1}), factor.view({1, -1, 1})).flatten(1);
    }
    result.narrow(0, first, count).copy_(rows);
  });
  return table ? result.t().contiguous() : result.view(weight.sizes());
}

}  // namespace dormer::adapter
