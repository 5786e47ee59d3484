// What the peer tests ask one adapted layer, in fp32:
//   layer_probe IN OUT KEY=VALUE…
// IN is a safetensors file with "weight", perhaps "bias", "x" (int64 for an embedding), "target", and values of the
// adapter's parameters by their names and shapes in the flat space ("lora_A", "magnitude", …; what is absent keeps its
// start; "start.lora_A" and "start.lora_B" are what the change is counted from). OUT gets the output "y", the gradients
// "gradient.NAME" and "x_gradient" of the mean of (y - target)² / 2, Δ as a matrix "delta", the constants of an own
// start "start.NAME", and after `updates` updates of AdamW the parameters "updated.NAME". With dropout also what update
// N multiplies with: the input "input_mask.N", the rows of Δ "rows.N", and "left_out.N", 1 where the whole change is
// left out. Keys: kind, rank, alpha, form (linear, convolution, embedding), stride, padding, dilation (such as 2,1),
// groups, axis (none, output, input), epsilon, norm_gradient, profile, dropout, dropout_placement, rank_dropout,
// rank_dropout_scale, module_dropout, start, start_iterations, tucker, factor, decompose_both, full_matrix, updates,
// learning_rate.

#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>

#include "adapter/adapter.hpp"
#include "adapter/part_dropout.hpp"
#include "dormer/adapter/adapter_set.hpp"
#include "dormer/core/error.hpp"
#include "dormer/optim/optimizer.hpp"
#include "dormer/storage/safetensors.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/dropout.hpp"
#include "peers/layer_keys.hpp"

namespace dormer {
namespace {

using tests::LayerKeys;

class Arrays {
 public:
  explicit Arrays(const std::filesystem::path& path) : file_(storage::SafetensorsFile::open(path)) {}
  /// Undefined where there is none.
  [[nodiscard]] at::Tensor get(const std::string& name) const {
    const storage::TensorEntry* entry = file_->find(name);
    if (entry == nullptr) {
      return {};
    }
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast): cloned at once
    void* bytes = const_cast<std::byte*>(file_->bytes(*entry).data());
    return at::from_blob(bytes, entry->shape, entry->dtype == DType::kI64 ? at::kLong : at::kFloat).clone();
  }

 private:
  std::shared_ptr<const storage::SafetensorsFile> file_;
};

class Output {
 public:
  void add(const std::string& name, const at::Tensor& values) {
    const at::Tensor& kept = kept_.emplace_back(values.detach().to(at::kFloat).contiguous().clone());
    arrays_.push_back({.name = name,
                       .dtype = DType::kF32,
                       .shape = kept.sizes().vec(),
                       .bytes = {static_cast<const std::byte*>(kept.const_data_ptr()), kept.nbytes()}});
  }
  void write(const std::filesystem::path& path) const { storage::write_safetensors(path, arrays_, {}); }

 private:
  std::vector<at::Tensor> kept_;
  std::vector<storage::NamedArray> arrays_;
};

adapter::FrozenLayer frozen_layer(const Arrays& arrays, const LayerKeys& keys) {
  const at::Tensor weight = arrays.get("weight");
  const std::string form = keys.text("form", "linear");
  adapter::FrozenLayer layer;
  layer.site = {.name = tests::kLayerName, .group = "mlp", .layer = 0, .out = weight.size(0), .in = weight.size(1)};
  if (form == "embedding") {
    layer.site.form = adapter::LayerForm::kEmbedding;
    std::swap(layer.site.out, layer.site.in);
  } else if (form == "convolution") {
    layer.site.form = adapter::LayerForm::kConvolution;
    layer.site.in *= keys.integer("groups", 1);
    layer.site.convolution = {weight.sizes().slice(2).vec(), keys.list("stride"), keys.list("padding"),
                              keys.list("dilation"), keys.integer("groups", 1)};
  }
  layer.weight = {"layer.weight", weight, nullptr, false};
  if (const at::Tensor bias = arrays.get("bias"); bias.defined()) {
    layer.bias = {"layer.bias", bias, nullptr, false};
  }
  return layer;
}

std::string short_name(const tensor::ParameterEntry& entry) {
  return entry.name.substr(std::string(tests::kLayerName).size() + 1);
}

std::string start_name(const std::string& parameter) {
  return "start." + parameter.substr(std::string(tests::kLayerName).size() + 1);
}

void set_parameters(adapter::AdapterSet& adapters, const Arrays& arrays) {
  const tensor::NoRecording guard;
  for (const auto& [parameter, start] : adapters.start_values()) {
    if (const at::Tensor values = arrays.get(start_name(parameter)); values.defined()) {
      start.copy_(values);
    }
  }
  tensor::FlatSpace& space = adapters.space();
  for (const tensor::ParameterEntry& entry : space.entries()) {
    if (const at::Tensor values = arrays.get(short_name(entry)); values.defined()) {
      require(values.sizes().vec() == entry.shape, Fault::kInput, "{} has another shape", entry.name);
      tensor::FlatSpace::unpadded_part(space.values(), entry).copy_(values);
    }
  }
  space.mark_written();
  adapters.refresh();
}

constexpr RandomKey kSeed{3};

/// One micro-batch of update `step`, all of whose rows are one sample.
adapter::Pack draw(adapter::AdapterSet& adapters, std::int64_t step) {
  adapter::Pack pack = adapter::Pack::solo(&adapters, 1);
  if (adapters.has_dropout()) {
    adapters.draw_dropout(kSeed, step);
    pack.segments.front().dropout_keys = adapter::dropout_keys(kSeed, step, 0, 1);
  }
  return pack;
}

void add_draw(const adapter::AdapterSet& adapters, const adapter::Site& site, const at::Tensor& x, std::int64_t step,
              Output& output) {
  const adapter::SitePlan& plan = adapters.plans().front();
  const std::string number = std::to_string(step);
  if (plan.dropout > 0.0) {
    const std::vector<RandomKey> keys{adapter::dropout_keys(kSeed, step, 0, 1).front().child(tests::kLayerName)};
    output.add("input_mask." + number, tensor::dropped_out(at::ones_like(x), keys, plan.dropout));
  }
  if (plan.drops_parts()) {
    const RandomKey key = adapter::part_dropout_key(kSeed, step, tests::kLayerName);
    output.add("rows." + number,
               adapter::row_factors(key, site.out, plan.rank_dropout, adapters.config().rank_dropout_scale));
    output.add("left_out." + number, at::full({1}, adapter::leaves_out(key, plan.module_dropout) ? 1.0 : 0.0));
  }
}

void run(const std::filesystem::path& in, const std::filesystem::path& out, const LayerKeys& keys) {
  const Arrays arrays(in);
  const std::vector<adapter::FrozenLayer> layers{frozen_layer(arrays, keys)};
  adapter::AdapterSet adapters(tests::adapter_config(keys), layers, RandomKey{1});
  Output output;
  for (const auto& [parameter, start] : adapters.start_values()) {
    output.add(start_name(parameter), start);
  }
  set_parameters(adapters, arrays);
  tensor::FlatSpace& space = adapters.space();
  const at::Tensor gradient = at::zeros({space.size()});
  space.bind_gradient(gradient);
  const at::Tensor target = arrays.get("target");
  const bool embedding = layers[0].site.form == adapter::LayerForm::kEmbedding;
  const auto pass = [&](std::int64_t step) {
    at::Tensor x = arrays.get("x");
    if (!embedding) {
      x.set_requires_grad(true);
    }
    gradient.zero_();
    const at::Tensor y = adapter::apply_layer(x, layers[0], draw(adapters, step));
    tensor::run_backward(y, y.detach().sub(target).div(static_cast<double>(target.numel())));
    return std::pair{y, embedding ? at::Tensor() : x.grad()};
  };
  const auto [y, x_gradient] = pass(0);
  output.add("y", y);
  if (x_gradient.defined()) {
    output.add("x_gradient", x_gradient);
  }
  output.add("delta", adapters.find(0)->change().dense_rows(0, layers[0].site.out));
  for (const tensor::ParameterEntry& entry : space.entries()) {
    output.add("gradient." + short_name(entry), tensor::FlatSpace::unpadded_part(gradient, entry));
  }
  optim::OptimizerSettings settings;
  settings.factors = settings.magnitudes = {keys.number("learning_rate", 1e-2), 0.0};
  const auto optimizer = optim::optimizer_registry().get(
      "kind", "adamw")({.settings = settings,
                        .groups = optim::plan_groups(space.entries(), space.size(), settings),
                        .slice = {0, space.size()}});
  const auto size = static_cast<std::size_t>(space.size());
  for (std::int64_t step = 0; step < keys.integer("updates", 0); ++step) {
    static_cast<void>(pass(step));
    add_draw(adapters, layers[0].site, arrays.get("x"), step, output);
    optimizer->update({space.values().mutable_data_ptr<float>(), size}, {gradient.const_data_ptr<float>(), size},
                      {.step = step});
    space.mark_written();
    adapters.refresh();
  }
  for (const tensor::ParameterEntry& entry : space.entries()) {
    output.add("updated." + short_name(entry), tensor::FlatSpace::unpadded_part(space.values(), entry));
  }
  output.write(out);
}

}  // namespace
}  // namespace dormer

int main(int count, char** words) {
  if (count < 3) {
    std::fputs("usage: layer_probe IN OUT KEY=VALUE…\n", stderr);
    return static_cast<int>(dormer::Fault::kUsage);
  }
  try {
    dormer::run(words[1], words[2], dormer::tests::LayerKeys(count - 3, words + 3));
    return 0;
  } catch (const dormer::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return error.exit_code();
  }
}
