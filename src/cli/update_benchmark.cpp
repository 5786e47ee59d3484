#include "update_benchmark.hpp"

#include <algorithm>
#include <chrono>
#include <memory>
#include <string_view>

#include <fmt/ranges.h>

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros_like.h>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/core/error.hpp"
#include "dormer/optim/optimizer.hpp"
#include "dormer/tensor/memory.hpp"

namespace dormer::cli {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// What a name of `UpdateBenchmark::adapters` stands for.
adapter::AdapterConfig config_of(const std::string& name, const BenchmarkedModel& model, std::int64_t rank) {
  constexpr std::string_view kDecomposed = "-dora";
  constexpr std::string_view kByInput = "-input";
  adapter::AdapterConfig config;
  config.rank = rank;
  config.targets = {model.targets()};
  config.kind = name.starts_with("dora") ? "lora-" + name : name;
  const bool by_input = config.kind.ends_with(std::string(kDecomposed) + std::string(kByInput));
  if (by_input) {
    config.kind.resize(config.kind.size() - kByInput.size());
  }
  if (config.kind.ends_with(kDecomposed)) {
    config.kind.resize(config.kind.size() - kDecomposed.size());
    config.decompose.emplace().axis = by_input ? "input" : "output";
  }
  return config;
}

/// One trial that updates itself: what a solo run on one rank does in an update, without its files.
class Trainee {
 public:
  Trainee(const BenchmarkedModel& model, const UpdateBenchmark& benchmark, const std::string& name)
      : model_(model),
        samples_(benchmark.work.samples),
        device_(benchmark.device),
        adapters_(config_of(name, model, benchmark.rank), model.layers(), RandomKey{7}) {
    tensor::FlatSpace& space = adapters_.space();
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

  /// Seconds of update `step` on what the model has drawn.
  double update(std::int64_t step) {
    const double start = now();
    gradient_.zero_();
    const objective::LossSums loss = model_.loss(adapter::Pack::solo(&adapters_, samples_));
    require(loss.loss_sum == loss.loss_sum, Fault::kNumerical, "the benchmark's loss is not a number");
    tensor::FlatSpace& space = adapters_.space();
    const auto count = static_cast<std::size_t>(space.size());
    optimizer_->update({space.values().mutable_data_ptr<float>(), count}, {gradient_.const_data_ptr<float>(), count},
                       {.step = step, .schedule_factor = 1.0, .gradient_scale = 1.0});
    space.mark_written();
    adapters_.refresh();
    device_.synchronize();
    return now() - start;
  }

 private:
  const BenchmarkedModel& model_;
  std::int64_t samples_;
  const BenchDevice& device_;
  adapter::AdapterSet adapters_;
  at::Tensor gradient_;
  std::unique_ptr<optim::Optimizer> optimizer_;
};

double floor_seconds(const BenchmarkedModel& model, const BenchDevice& device) {
  const double start = now();
  model.floor();
  device.synchronize();
  return now() - start;
}

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

BenchmarkResult measure_update(const UpdateBenchmark& benchmark) {
  const std::unique_ptr<BenchmarkedModel> model = load_benchmarked_model(benchmark.work, benchmark.device.name);
  BenchmarkResult result{.unit = model->unit(), .amount = model->amount(), .rows = {{model->floor_name(), {}}}};
  std::vector<std::unique_ptr<Trainee>> trainees;
  for (const std::string& name : benchmark.adapters) {
    trainees.push_back(std::make_unique<Trainee>(*model, benchmark, name));
    result.rows.push_back({name, {}});
  }
  for (std::int64_t round = 0; round <= benchmark.rounds; ++round) {
    model->draw(round);
    std::vector<double> seconds{floor_seconds(*model, benchmark.device)};
    for (const std::unique_ptr<Trainee>& trainee : trainees) {
      seconds.push_back(trainee->update(round));
    }
    for (std::size_t i = 0; round > 0 && i < seconds.size(); ++i) {  // the first pays for pages and choices of kernels
      result.rows[i].seconds.push_back(seconds[i]);
    }
  }
  return result;
}

std::string describe(const UpdateBenchmark& benchmark, const BenchmarkResult& result) {
  const auto amount = static_cast<double>(result.amount);
  const std::vector<BenchmarkRow>& rows = result.rows;
  const BenchmarkRow& first = rows.at(1);
  std::string text =
      fmt::format("{:15} {:>14} {:>14} {:>12} {:>12} {:>10}\n", name_of(benchmark.work.dtype),
                  "best " + result.unit + "/s", "median", "seconds", "of " + first.name, "of " + rows[0].name);
  for (const BenchmarkRow& row : rows) {
    text += fmt::format("{:15} {:14.4g} {:14.4g} {:12.4f} {:12.3f} {:10.3f}\n", row.name, amount / row.best(),
                        amount / row.median(), row.median(), first.median() / row.median(),
                        rows[0].median() / row.median());
  }
  for (std::size_t i = 2; i < rows.size(); ++i) {
    text += fmt::format("{} / {} time: best {:.3f}, median {:.3f}\n", rows[i].name, first.name,
                        rows[i].best() / first.best(), rows[i].median() / first.median());
  }
  return text +
         fmt::format("peak memory of the host {:.2f} GB\n", static_cast<double>(tensor::peak_resident_bytes()) / 1e9);
}

std::string to_json(const BenchmarkResult& result) {
  std::string text = "{";
  for (const BenchmarkRow& row : result.rows) {
    text += fmt::format("{}\"{}\": [{:.6f}]", text.size() > 1 ? ", " : "", row.name, fmt::join(row.seconds, ", "));
  }
  return text + "}\n";
}

}  // namespace dormer::cli
