#include "dormer/adapter/head.hpp"

#include <algorithm>

#include <ATen/core/Tensor.h>

#include "adapter.hpp"
#include "dormer/core/error.hpp"

namespace dormer::adapter {

TrainedHead::TrainedHead(const AdapterSet& adapters, const Site& site)
    : adapters_(adapters),
      adapter_(*adapters.find(site.index)),
      parameter_(adapters.space().index_of(site.name + ".weight")) {}

const at::Tensor& TrainedHead::weight() const {
  return *adapter_.change().whole_weight();
}

bool TrainedHead::wants_gradient() const {
  return adapters_.space().has_gradient() && adapters_.space().trains(parameter_);
}

at::Tensor TrainedHead::gradient() const {
  return adapters_.space().gradient(parameter_);
}

void TrainedHead::announce_gradient() const {
  adapter_.announce_gradients();
}

std::optional<TrainedHead> trained_head(const Pack& pack, std::span<const FrozenLayer> layers) {
  const auto layer = std::ranges::find(layers, LayerForm::kHead, [](const FrozenLayer& one) { return one.site.form; });
  std::optional<TrainedHead> found;
  for (const Segment& segment : pack.segments) {
    if (layer != layers.end() && segment.adapters != nullptr && segment.adapters->find(layer->site.index) != nullptr) {
      invariant(pack.segments.size() == 1, "a pack of {} trials trains a head", pack.segments.size());
      found.emplace(*segment.adapters, layer->site);
    }
  }
  return found;
}

}  // namespace dormer::adapter
