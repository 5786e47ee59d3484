#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/adapter/site.hpp"

namespace dormer::model {

/// The frozen layers of all parts of a model, in the order in which they were loaded; a site's index is its place here.
/// Parts add their layers while they load and apply them by their places afterwards.
class LayerList {
 public:
  std::size_t add(adapter::FrozenLayer layer) {
    layer.site.index = layers_.size();
    layers_.push_back(std::move(layer));
    return layers_.size() - 1;
  }
  [[nodiscard]] std::span<const adapter::FrozenLayer> layers() const { return layers_; }
  [[nodiscard]] const adapter::FrozenLayer& operator[](std::size_t index) const { return layers_.at(index); }

 private:
  std::vector<adapter::FrozenLayer> layers_;
};

}  // namespace dormer::model
