#include "layer_builder.hpp"

#include <array>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "dormer/tensor/base_loading.hpp"

namespace dormer::model {

LayerBuilder::LayerBuilder(const storage::SafetensorsSet& files, std::string part, std::shared_ptr<LayerList> layers,
                           Placement placement)
    : files_(files), part_(std::move(part)), layers_(std::move(layers)), placement_(std::move(placement)) {
  if (!part_.empty()) {
    part_ += ".";
  }
}

std::size_t LayerBuilder::add(const LayerPlace& place, adapter::Site site, std::span<const std::int64_t> shape,
                              bool bias) {
  site.name = part_ + site_prefix_ + place.name;
  site.group = place.group;
  site.layer = place.block;
  site.biased = bias;
  adapter::FrozenLayer layer;
  const std::string name = file_prefix_ + place.name;
  layer.weight = tensor::load_base_weight(files_, name + ".weight", shape, placement_.dtype, placement_.device);
  if (bias) {
    layer.bias =
        tensor::load_base_weight(files_, name + ".bias", std::array{site.out}, placement_.dtype, placement_.device);
  }
  layer.site = std::move(site);
  return layers_->add(std::move(layer));
}

std::size_t LayerBuilder::linear(const LayerPlace& place, std::int64_t out, std::int64_t in, bool bias) {
  adapter::Site site;
  site.out = out;
  site.in = in;
  return add(place, std::move(site), std::array{out, in}, bias);
}

std::size_t LayerBuilder::convolution(const LayerPlace& place, std::int64_t out, std::int64_t in,
                                      const SquareKernel& kernel) {
  adapter::Site site;
  site.out = out;
  site.in = in;
  site.form = adapter::LayerForm::kConvolution;
  site.convolution = {.kernel = {kernel.size, kernel.size},
                      .stride = {kernel.stride, kernel.stride},
                      .padding = {kernel.padding, kernel.padding},
                      .dilation = {1, 1}};
  return add(place, std::move(site), std::array{out, in, kernel.size, kernel.size}, true);
}

std::size_t LayerBuilder::table(const LayerPlace& place, std::int64_t rows, std::int64_t width) {
  adapter::Site site;
  site.out = width;
  site.in = rows;
  site.form = adapter::LayerForm::kEmbedding;
  return add(place, std::move(site), std::array{rows, width}, false);
}

tensor::BaseWeight LayerBuilder::array(const std::string& name, std::span<const std::int64_t> shape,
                                       std::optional<DType> dtype) const {
  return tensor::load_base_weight(files_, file_prefix_ + name, shape, dtype.value_or(placement_.dtype),
                                  placement_.device);
}

Norm LayerBuilder::norm(const std::string& name, std::int64_t width, double epsilon) const {
  const auto load = [&](const char* part) {
    return tensor::load_base_weight(files_, file_prefix_ + name + part, std::array{width}, placement_.dtype,
                                    placement_.device);
  };
  return {load(".weight"), load(".bias"), epsilon};
}

at::Tensor apply(const LayerList& layers, std::size_t place, const at::Tensor& x, const adapter::Pack& pack) {
  return adapter::apply_layer(x, layers[place], pack);
}

}  // namespace dormer::model
