#include "train/gpu_fit.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <ranges>

#include <fmt/ranges.h>

#include "dormer/optim/optimizer.hpp"

namespace dormer::train {
namespace {

GpuFit compare(std::int64_t peak, std::int64_t available) {
  const std::int64_t needed = peak + kAssumedGpuBytes;
  return {.available = available, .assumed = kAssumedGpuBytes, .needed = needed, .fits = needed <= available};
}

}  // namespace

std::vector<Saving> possible_savings(const RunConfig& config, int ranks) {
  std::vector<Saving> savings;
  const Registry<optim::OptimizerKind> optimizers = optim::optimizer_registry();
  const bool images = config.data.kind == "images";
  if (!config.run.recompute) {
    savings.push_back({"run.recompute: true", [](RunConfig& changed) { changed.run.recompute = true; }});
  }
  const optim::OptimizerKind* kind = optimizers.find(config.optimizer.kind);
  if (ranks > 1 && !config.parallel.shard_optimizer && kind != nullptr && !kind->whole) {
    savings.push_back(
        {"parallel.shard_optimizer: true", [](RunConfig& changed) { changed.parallel.shard_optimizer = true; }});
  }
  for (std::int64_t micro = config.batch.micro / 2; micro >= 1; micro /= 2) {
    if (config.batch.micro % micro == 0) {
      savings.push_back(
          {fmt::format("batch.micro: {}", micro), [micro](RunConfig& changed) { changed.batch.micro = micro; }});
    }
  }
  if (config.model.dtype == "float32") {
    savings.push_back({"model.dtype: bfloat16", [](RunConfig& changed) { changed.model.dtype = "bfloat16"; }});
  }
  if (config.adapter.kind != "full" && config.adapter.rank > 1) {
    const std::int64_t rank = config.adapter.rank / 2;
    savings.push_back(
        {fmt::format("adapter.rank: {}", rank), [rank](RunConfig& changed) { changed.adapter.rank = rank; }});
  }
  if (const std::int64_t length = config.data.sequence_length / 2; length >= 1 && !images) {
    savings.push_back({fmt::format("data.sequence_length: {}", length),
                       [length](RunConfig& changed) { changed.data.sequence_length = length; }});
  }
  const std::vector<double>& resolution = config.data.images.resolution;
  if (images && std::ranges::all_of(resolution, [&](double side) {
        return std::fmod(side, 2.0 * static_cast<double>(config.data.images.buckets.step)) == 0.0;
      })) {
    savings.push_back({"data.resolution: halved", [](RunConfig& changed) {
                         for (double& side : changed.data.images.resolution) {
                           side /= 2.0;
                         }
                       }});
  }
  return savings;
}

GpuFit fit_on_gpu(const RunConfig& config, int ranks, std::int64_t peak, std::int64_t available,
                  const std::function<std::int64_t(const RunConfig&)>& peak_of) {
  GpuFit fit = compare(peak, available);
  if (fit.fits) {
    return fit;
  }
  RunConfig together = config;
  std::map<std::string, std::string> all;  // by key: a smaller micro-batch stands for a larger one
  for (const Saving& saving : possible_savings(config, ranks)) {
    RunConfig alone = config;
    saving.apply(alone);
    const std::int64_t changed = peak_of(alone);
    if (changed >= peak) {  // more leaves need more buffers, and ranks are padded: not everything helps everywhere
      continue;
    }
    fit.changes.push_back({saving.change, changed, compare(changed, available).fits});
    saving.apply(together);
    all[saving.change.substr(0, saving.change.find(':'))] = saving.change;
    if (all.size() < 2 || fit.changes.back().fits) {
      continue;
    }
    if (const std::int64_t joint = peak_of(together); compare(joint, available).fits) {
      fit.changes.push_back({fmt::format("{}", fmt::join(std::views::values(all), ", ")), joint, true});
      break;
    }
  }
  return fit;
}

}  // namespace dormer::train
