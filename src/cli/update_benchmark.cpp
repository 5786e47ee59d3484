#include "update_benchmark.hpp"

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <span>

#include <fmt/ranges.h>
#include <sys/resource.h>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros_like.h>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/core/error.hpp"
#include "dormer/model/language_model.hpp"
#include "dormer/objective/next_token.hpp"
#include "dormer/optim/optimizer.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/frozen_product.hpp"

namespace dormer::cli {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

at::Tensor random_tokens(const UpdateBenchmark& benchmark, std::int64_t vocabulary, std::int64_t update) {
  at::Tensor tokens = at::empty({benchmark.samples, benchmark.length + 1}, at::kLong);
  auto* values = tokens.mutable_data_ptr<std::int64_t>();
  const RandomKey key = RandomKey{7}.child("benchmark").child(static_cast<std::uint64_t>(update));
  for (std::int64_t i = 0; i < tokens.numel(); ++i) {
    values[i] = static_cast<std::int64_t>(philox(key, static_cast<std::uint64_t>(i))[0]) % vocabulary;
  }
  return tokens;
}

/// One trial that updates itself: what a solo run on one rank does in an update, without its files.
class Trainee {
 public:
  Trainee(const model::LanguageModel& model, const UpdateBenchmark& benchmark, bool decompose) : model_(model) {
    adapter::AdapterConfig config;
    config.rank = benchmark.rank;
    if (decompose) {
      config.decompose.emplace();
    }
    adapters_.emplace(config, model.layers(), RandomKey{7});
    tensor::FlatSpace& space = adapters_->space();
    gradient_ = at::zeros_like(space.values());
    space.bind_gradient(gradient_);
    optim::OptimizerSettings settings;
    settings.factors.learning_rate = 5e-4;
    settings.magnitudes.learning_rate = 5e-4;
    optimizer_ = optim::optimizer_registry().get("optimizer.kind",
                                                 "adamw")({settings,
                                                           optim::plan_groups(space.entries(), space.size(), settings),
                                                           {0, space.size()},
                                                           benchmark.device.name});
  }

  double update(const UpdateBenchmark& benchmark, std::int64_t step) {
    const at::Tensor tokens = random_tokens(benchmark, model_.facts().vocabulary, step);
    const double start = now();
    gradient_.zero_();
    const auto targets = static_cast<double>(benchmark.samples * benchmark.length);
    const auto loss = objective::next_token_loss(model_, data::TokenBatch::of_rows(tokens),
                                                 adapter::Pack::solo(&*adapters_, benchmark.samples), {targets, true});
    require(loss.loss_sum == loss.loss_sum, Fault::kNumerical, "the benchmark's loss is not a number");
    tensor::FlatSpace& space = adapters_->space();
    const auto count = static_cast<std::size_t>(space.size());
    optimizer_->update({space.values().mutable_data_ptr<float>(), count}, {gradient_.const_data_ptr<float>(), count},
                       {.step = step, .schedule_factor = 1.0, .gradient_scale = 1.0});
    space.mark_written();
    adapters_->refresh();
    benchmark.device.synchronize();
    return now() - start;
  }

 private:
  const model::LanguageModel& model_;
  std::optional<adapter::AdapterSet> adapters_;
  at::Tensor gradient_;
  std::unique_ptr<optim::Optimizer> optimizer_;
};

/// The frozen products of one update alone, on inputs of their shapes.
class Floor {
 public:
  Floor(const model::LanguageModel& model, const UpdateBenchmark& benchmark)
      : rows_(benchmark.samples * benchmark.length) {
    for (const adapter::FrozenLayer& layer : model.layers()) {
      if (layer.site.form == adapter::LayerForm::kLinear) {
        weights_.push_back(layer.weight.values());
      }
    }
    weights_.push_back(model.head().values());
    for (const at::Tensor& weight : weights_) {
      for (const std::int64_t width : weight.sizes()) {
        at::Tensor& input = inputs_[width];
        if (!input.defined()) {
          input = at::randn({rows_, width}, weight.options());  // products of zeros are faster than others on a GPU
        }
      }
    }
  }

  [[nodiscard]] double seconds(const BenchDevice& device) const {
    const tensor::NoRecording guard;
    const double start = now();
    for (const at::Tensor& weight : weights_) {
      static_cast<void>(tensor::multiply_transposed(inputs_.at(weight.size(1)), weight));
      static_cast<void>(tensor::multiply(inputs_.at(weight.size(0)), weight));
    }
    device.synchronize();
    return now() - start;
  }

 private:
  std::int64_t rows_;
  std::vector<at::Tensor> weights_{};
  std::map<std::int64_t, at::Tensor> inputs_{};  // by width
};

}  // namespace

double BenchmarkRow::best() const {
  return *std::min_element(seconds.begin(), seconds.end());
}

double BenchmarkRow::median() const {
  std::vector<double> sorted = seconds;
  std::sort(sorted.begin(), sorted.end());
  const std::size_t middle = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[middle] : 0.5 * (sorted[middle - 1] + sorted[middle]);
}

std::vector<BenchmarkRow> measure_update(const UpdateBenchmark& benchmark) {
  const auto model =
      model::load_language_model(benchmark.model, {.dtype = benchmark.dtype, .device = benchmark.device.name});
  Trainee lora(*model, benchmark, false);
  Trainee dora(*model, benchmark, true);
  const Floor floor(*model, benchmark);
  static_cast<void>(floor.seconds(benchmark.device));
  lora.update(benchmark, 0);  // the first round pays for pages and for oneDNN's choice of kernels
  dora.update(benchmark, 0);
  std::vector<BenchmarkRow> rows{{"floor", {}}, {"lora", {}}, {"dora", {}}};
  for (std::int64_t round = 1; round <= benchmark.rounds; ++round) {
    rows[0].seconds.push_back(floor.seconds(benchmark.device));
    rows[1].seconds.push_back(lora.update(benchmark, round));
    rows[2].seconds.push_back(dora.update(benchmark, round));
  }
  return rows;
}

std::string describe(const UpdateBenchmark& benchmark, const std::vector<BenchmarkRow>& rows) {
  const auto tokens = static_cast<double>(benchmark.samples * benchmark.length);
  std::string text = fmt::format("{:8} {:>14} {:>14} {:>10} {:>10}\n", name_of(benchmark.dtype), "best tokens/s",
                                 "median", "of lora", "of floor");
  for (const BenchmarkRow& row : rows) {
    text += fmt::format("{:8} {:14.1f} {:14.1f} {:10.3f} {:10.3f}\n", row.name, tokens / row.best(),
                        tokens / row.median(), rows[1].median() / row.median(), rows[0].median() / row.median());
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  text += fmt::format("dora / lora time: best {:.3f}, median {:.3f}; peak memory of the host {:.2f} GB\n",
                      rows[2].best() / rows[1].best(), rows[2].median() / rows[1].median(),
                      static_cast<double>(usage.ru_maxrss) / 1e6);
  return text;
}

std::string to_json(const std::vector<BenchmarkRow>& rows) {
  std::string text = "{";
  for (const BenchmarkRow& row : rows) {
    text += fmt::format("{}\"{}\": [{:.6f}]", text.size() > 1 ? ", " : "", row.name, fmt::join(row.seconds, ", "));
  }
  return text + "}\n";
}

}  // namespace dormer::cli
