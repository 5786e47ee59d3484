#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "dormer/model/language_model.hpp"
#include "dormer/storage/safetensors.hpp"
#include "dormer/tensor/image_operations.hpp"
#include "layer_list.hpp"

namespace dormer::model {

/// Weight and bias of an affine norm in the compute dtype.
struct Norm {
  tensor::BaseWeight weight;
  tensor::BaseWeight bias;
  double epsilon = 1e-5;
  [[nodiscard]] tensor::AffineNorm affine() const { return {weight.values(), bias.values(), epsilon}; }
};

/// Where a layer stands in its model.
struct LayerPlace {
  std::string name;        ///< module path within the part
  std::string_view group;  ///< "attention", "mlp", "convolution", "edge", "time", "embedding"
  std::int64_t block = -1;
};

/// A square convolution's sizes.
struct SquareKernel {
  std::int64_t size = 3;
  std::int64_t stride = 1;
  std::int64_t padding = 1;
};

/// Loads the layers of one part of an image model by their names in its files.
class LayerBuilder {
 public:
  /// Sites are called `part`.NAME, or NAME where `part` is empty. `files` must outlive the builder alone.
  LayerBuilder(const storage::SafetensorsSet& files, std::string part, std::shared_ptr<LayerList> layers,
               Placement placement);

  /// Each returns the layer's place in the list. Errors are those of `tensor::load_base_weight`.
  std::size_t linear(const LayerPlace& place, std::int64_t out, std::int64_t in, bool bias = true);
  std::size_t convolution(const LayerPlace& place, std::int64_t out, std::int64_t in, const SquareKernel& kernel = {});
  std::size_t table(const LayerPlace& place, std::int64_t rows, std::int64_t width);
  /// An array that is no layer, in `dtype`; absent: in the compute dtype.
  [[nodiscard]] tensor::BaseWeight array(const std::string& name, std::span<const std::int64_t> shape,
                                         std::optional<DType> dtype = std::nullopt) const;
  [[nodiscard]] Norm norm(const std::string& name, std::int64_t width, double epsilon) const;

  [[nodiscard]] bool has(const std::string& array) const { return files_.find(array).has_value(); }
  /// Names in the files begin so (sites' do not).
  void set_file_prefix(std::string prefix) { file_prefix_ = std::move(prefix); }
  /// Sites' names begin so after the part (the files' do not).
  void set_site_prefix(std::string prefix) { site_prefix_ = std::move(prefix); }
  [[nodiscard]] const std::shared_ptr<LayerList>& layers() const { return layers_; }
  [[nodiscard]] const Placement& placement() const { return placement_; }

 private:
  std::size_t add(const LayerPlace& place, adapter::Site site, std::span<const std::int64_t> shape, bool bias);

  const storage::SafetensorsSet& files_;
  std::string part_;
  std::shared_ptr<LayerList> layers_;
  Placement placement_;
  std::string file_prefix_;
  std::string site_prefix_;
};

/// The layer at a place of the list, on x.
[[nodiscard]] at::Tensor apply(const LayerList& layers, std::size_t place, const at::Tensor& x,
                               const adapter::Pack& pack);

}  // namespace dormer::model
