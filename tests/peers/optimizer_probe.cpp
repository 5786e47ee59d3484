// What the peer tests ask one optimizer, in fp32:
//   optimizer_probe IN OUT KEY=VALUE…
// IN is a safetensors file with parameters "start.NAME" and gradients "gradient.N.NAME" of updates N from 0 on. OUT
// gets "updated.NAME", and "average.NAME" where the optimizer keeps an average. A matrix is padded as ranks are. Keys:
// kind, updates, learning_rate, weight_decay, slope (of the schedule's factor, 1 - slope * N), beta1, beta2, epsilon,
// relative_step, scale_parameter, confidence_beta, initial_distance, coefficient, growth_rate, bias_correction and
// safeguard_warmup (0 or 1).

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros_like.h>

#include "dormer/core/error.hpp"
#include "dormer/optim/optimizer.hpp"
#include "dormer/storage/safetensors.hpp"
#include "dormer/tensor/device_memory.hpp"
#include "peers/layer_keys.hpp"

namespace dormer {
namespace {

using tensor::FlatSpace;
using tests::LayerKeys;

constexpr std::string_view kStart = "start.";

optim::OptimizerSettings settings_of(const LayerKeys& keys) {
  optim::OptimizerSettings settings;
  settings.beta1 = keys.number("beta1", 0.9);
  settings.beta2 = keys.number("beta2", 0.999);
  settings.epsilon = keys.number("epsilon", 1e-8);
  settings.factors = {keys.number("learning_rate", 1e-3), keys.number("weight_decay", 0.0)};
  settings.adafactor.relative_step = keys.integer("relative_step", 1) != 0;
  settings.adafactor.scale_parameter = keys.integer("scale_parameter", 1) != 0;
  settings.came.confidence_beta = keys.number("confidence_beta", 0.9999);
  settings.prodigy.initial_distance = keys.number("initial_distance", 1e-6);
  settings.prodigy.coefficient = keys.number("coefficient", 1.0);
  if (keys.number("growth_rate", 0.0) > 0.0) {
    settings.prodigy.growth_rate = keys.number("growth_rate", 0.0);
  }
  settings.prodigy.bias_correction = keys.integer("bias_correction", 0) != 0;
  settings.prodigy.safeguard_warmup = keys.integer("safeguard_warmup", 0) != 0;
  return settings;
}

at::Tensor array_of(const storage::SafetensorsFile& file, const std::string& name) {
  const storage::TensorEntry* entry = file.find(name);
  require(entry != nullptr, Fault::kInput, "no array {}", name);
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast): cloned at once
  return at::from_blob(const_cast<std::byte*>(file.bytes(*entry).data()), entry->shape, at::kFloat).clone();
}

void build_space(const storage::SafetensorsFile& file, FlatSpace& space) {
  for (const storage::TensorEntry& entry : file.tensors()) {
    if (entry.name.starts_with(kStart)) {
      std::vector<std::int64_t> stored = entry.shape;
      if (stored.size() > 1) {
        stored.front() =
            (stored.front() + FlatSpace::kRankPadding - 1) / FlatSpace::kRankPadding * FlatSpace::kRankPadding;
      }
      space.add(entry.name.substr(kStart.size()), entry.shape, stored, tensor::ParameterRole::kFactorIn);
    }
  }
  space.allocate();
  for (const tensor::ParameterEntry& entry : space.entries()) {
    FlatSpace::unpadded_part(space.values(), entry).copy_(array_of(file, std::string(kStart) + entry.name));
  }
}

class Output {
 public:
  void add(const std::string& prefix, const FlatSpace& space, const at::Tensor& flat) {
    for (const tensor::ParameterEntry& entry : space.entries()) {
      const at::Tensor& kept = kept_.emplace_back(FlatSpace::unpadded_part(flat, entry).contiguous().clone());
      arrays_.push_back({.name = prefix + entry.name,
                         .dtype = DType::kF32,
                         .shape = entry.shape,
                         .bytes = std::as_bytes(tensor::span_of(kept))});
    }
  }
  void write(const std::filesystem::path& path) const { storage::write_safetensors(path, arrays_, {}); }

 private:
  std::vector<at::Tensor> kept_;
  std::vector<storage::NamedArray> arrays_;
};

void run(const std::filesystem::path& in, const std::filesystem::path& out, const LayerKeys& keys) {
  const std::shared_ptr<const storage::SafetensorsFile> file = storage::SafetensorsFile::open(in);
  FlatSpace space;
  build_space(*file, space);
  const optim::OptimizerSettings settings = settings_of(keys);
  const auto optimizer = optim::optimizer_registry().get(
      "kind", keys.text("kind", "adamw"))({.settings = settings,
                                           .groups = optim::plan_groups(space.entries(), space.size(), settings),
                                           .slice = {0, space.size()},
                                           .entries = {space.entries().begin(), space.entries().end()}});
  for (std::int64_t step = 0; step < keys.integer("updates", 1); ++step) {
    const at::Tensor gradient = at::zeros_like(space.values());
    for (const tensor::ParameterEntry& entry : space.entries()) {
      FlatSpace::unpadded_part(gradient, entry).copy_(array_of(*file, fmt::format("gradient.{}.{}", step, entry.name)));
    }
    const double factor = 1.0 - keys.number("slope", 0.0) * static_cast<double>(step);
    optimizer->update(tensor::span_of(space.values()), tensor::span_of(gradient),
                      {.step = step, .schedule_factor = factor});
  }
  Output output;
  output.add("updated.", space, space.values());
  if (optimizer->averages()) {
    optimizer->average(tensor::span_of(space.values()));
    output.add("average.", space, space.values());
  }
  output.write(out);
}

}  // namespace
}  // namespace dormer

int main(int count, char** words) {
  if (count < 3) {
    std::fputs("usage: optimizer_probe IN OUT KEY=VALUE…\n", stderr);
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
