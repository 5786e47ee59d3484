// Updates of a chain of equal adapted layers, one for every line that it reads; started by kinds_against_peers.py.
//   layer_updates KEY=VALUE…
// Prints the seconds of each update (forward, backward, AdamW, norms and copies of the next one) and, when its input
// ends, by how many bytes the process grew at most beyond the frozen layers and the libraries. Keys beside those of
// tests/peers/layer_keys.hpp: form (linear, convolution), width (channels of every layer), depth, samples, extent
// (length of each axis of an image; rows of a sample for linear layers), axes, kernel, groups, dtype, threads.

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros_like.h>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/core/error.hpp"
#include "dormer/optim/optimizer.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/process.hpp"
#include "peers/layer_keys.hpp"

namespace dormer {
namespace {

using tests::LayerKeys;

/// A line of /proc/self/status, in bytes.
std::int64_t memory_of_process(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word == name + ":") {
      std::int64_t kilobytes = 0;
      status >> kilobytes;
      return kilobytes * 1'024;
    }
  }
  fail(Fault::kIo, "/proc/self/status has no {}", name);
}

void reset_peak_memory() {
  std::ofstream("/proc/self/clear_refs") << "5";
}

class Chain {
 public:
  explicit Chain(const LayerKeys& keys) : options_(at::TensorOptions().dtype(dtype_of(keys))) {
    const std::int64_t width = keys.integer("width", 1'024);
    const std::int64_t extent = keys.integer("extent", 256);
    samples_ = keys.integer("samples", 4);
    const bool linear = keys.text("form", "linear") == "linear";
    const auto axes = static_cast<std::size_t>(linear ? 0 : keys.integer("axes", 2));
    const std::int64_t groups = keys.integer("groups", 1);
    const std::int64_t kernel = keys.integer("kernel", 3);
    std::vector<std::int64_t> sizes{width, width / groups};
    sizes.resize(2 + axes, kernel);
    std::vector<std::int64_t> input{linear ? samples_ * extent : samples_, width};
    input.resize(2 + axes, extent);
    double columns = static_cast<double>(width) / static_cast<double>(groups);
    for (std::size_t axis = 0; axis < axes; ++axis) {
      columns *= static_cast<double>(kernel);
    }
    for (std::int64_t i = 0; i < keys.integer("depth", 4); ++i) {
      adapter::FrozenLayer layer;
      layer.site = {
          .name = fmt::format("{}.{}", tests::kLayerName, i), .group = "mlp", .layer = i, .out = width, .in = width};
      layer.site.index = static_cast<std::size_t>(i);
      if (!linear) {
        layer.site.form = adapter::LayerForm::kConvolution;
        layer.site.convolution = {std::vector(axes, kernel), std::vector<std::int64_t>(axes, 1),
                                  std::vector(axes, kernel / 2), std::vector<std::int64_t>(axes, 1), groups};
      }
      layer.weight = {layer.site.name + ".weight", at::randn(sizes, options_).div_(std::sqrt(columns)), nullptr, false};
      layers_.push_back(std::move(layer));
    }
    x_ = at::randn(input, options_);
    y_gradient_ = at::randn(input, options_).div_(static_cast<double>(x_.numel()));
  }

  [[nodiscard]] const std::vector<adapter::FrozenLayer>& layers() const { return layers_; }

  /// Forward and backward, adapted or (null) of the frozen layers alone.
  void pass(const adapter::AdapterSet* adapters) const {
    at::Tensor y = x_.detach();
    y.set_requires_grad(true);  // as in a model, whose layers have others before them
    for (const adapter::FrozenLayer& layer : layers_) {
      y = adapter::apply_layer(y, layer, adapter::Pack::solo(adapters, samples_));
    }
    tensor::run_backward(y, y_gradient_);
  }

 private:
  static at::ScalarType dtype_of(const LayerKeys& keys) {
    return keys.text("dtype", "float32") == "bfloat16" ? at::kBFloat16 : at::kFloat;
  }

  at::TensorOptions options_;
  std::int64_t samples_ = 0;
  std::vector<adapter::FrozenLayer> layers_{};
  at::Tensor x_;
  at::Tensor y_gradient_;
};

/// One trial that updates itself.
class Trainee {
 public:
  Trainee(const Chain& chain, const LayerKeys& keys)
      : chain_(chain), adapters_(tests::adapter_config(keys), chain.layers(), RandomKey{1}) {
    tensor::FlatSpace& space = adapters_.space();
    gradient_ = at::zeros_like(space.values());
    space.bind_gradient(gradient_);
    optim::OptimizerSettings settings;
    settings.factors = settings.magnitudes = {1e-4, 0.0};
    optimizer_ = optim::optimizer_registry().get(
        "kind", "adamw")({.settings = settings,
                          .groups = optim::plan_groups(space.entries(), space.size(), settings),
                          .slice = {0, space.size()}});
    adapters_.refresh();
  }

  void update(std::int64_t step) {
    gradient_.zero_();
    chain_.pass(&adapters_);
    tensor::FlatSpace& space = adapters_.space();
    const auto size = static_cast<std::size_t>(space.size());
    optimizer_->update({space.values().mutable_data_ptr<float>(), size}, {gradient_.const_data_ptr<float>(), size},
                       {.step = step});
    space.mark_written();
    adapters_.refresh();
  }

 private:
  const Chain& chain_;
  adapter::AdapterSet adapters_;
  at::Tensor gradient_;
  std::unique_ptr<optim::Optimizer> optimizer_;
};

void run(const LayerKeys& keys) {
  tensor::configure_process(keys.integer("threads", 2));
  const Chain chain(keys);
  chain.pass(nullptr);  // libraries make their pools and choose their kernels
  reset_peak_memory();
  const std::int64_t before = memory_of_process("VmRSS");
  Trainee trainee(chain, keys);
  std::int64_t step = 0;
  for (std::string line; std::getline(std::cin, line);) {
    const auto start = std::chrono::steady_clock::now();
    trainee.update(step++);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    fmt::print("{:.6f}\n", seconds.count());
    std::fflush(stdout);
  }
  fmt::print("{}\n", memory_of_process("VmHWM") - before);
}

}  // namespace
}  // namespace dormer

int main(int count, char** words) {
  try {
    dormer::run(dormer::tests::LayerKeys(count - 1, words + 1));
    return 0;
  } catch (const dormer::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return error.exit_code();
  }
}
