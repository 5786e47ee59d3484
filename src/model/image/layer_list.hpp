#pragma once

#include <cstddef>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/adapter/site.hpp"

namespace dormer::model {

/// The frozen layers of parts of a model, in the order in which they were loaded. Parts add their layers while they
/// load and apply them by their places afterwards.
class LayerList {
 public:
  /// Of parts that adapters are trained on, whose sites' indices are their places here; or of others, whose sites have
  /// an index that no adapter has, so that a pack may pass through both.
  explicit LayerList(bool adapted) : adapted_(adapted) {}

  std::size_t add(adapter::FrozenLayer layer) {
    layer.site.index = adapted_ ? layers_.size() : std::numeric_limits<std::size_t>::max();
    layers_.push_back(std::move(layer));
    return layers_.size() - 1;
  }
  [[nodiscard]] std::span<const adapter::FrozenLayer> layers() const { return layers_; }
  [[nodiscard]] const adapter::FrozenLayer& operator[](std::size_t index) const { return layers_.at(index); }

 private:
  bool adapted_;
  std::vector<adapter::FrozenLayer> layers_;
};

}  // namespace dormer::model
