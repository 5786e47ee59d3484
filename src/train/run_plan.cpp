#include "dormer/train/run_plan.hpp"

#include <algorithm>

#include <ATen/core/Tensor.h>

#include "dormer/adapter/effective_weight.hpp"
#include "dormer/core/error.hpp"
#include "dormer/parallel/plan.hpp"
#include "dormer/tensor/frozen_product.hpp"
#include "dormer/tensor/process.hpp"
#include "train/decisions.hpp"
#include "train/file_plan.hpp"
#include "train/gpu_fit.hpp"
#include "train/memory_plan.hpp"
#include "train/rehearsed_trial.hpp"
#include "train/startup.hpp"
#include "train/trial.hpp"

namespace dormer::train {
namespace {

/// Where the run is planned for, and from what.
struct Scene {
  const PlanTarget& target;
  bool gpu = false;
  std::filesystem::path folder{};
};

RehearsedTrial::Place place_of(const RunConfig& config, bool gpu) {
  const std::string automatic = gpu || tensor::cpu_has_bfloat16() ? "bfloat16" : "float32";
  const std::optional<DType> dtype = dtype_from_name(config.model.dtype == "auto" ? automatic : config.model.dtype);
  require(dtype == DType::kF32 || dtype == DType::kBF16, Fault::kUsage,
          "model.dtype: this version computes in float32 and bfloat16, not in '{}'", config.model.dtype);
  const bool plain =
      gpu || config.run.linear == "plain" || tensor::default_product_path() == tensor::ProductPath::kPlain;
  return {.dtype = *dtype, .products = plain ? tensor::ProductPath::kPlain : tensor::ProductPath::kOneDnn};
}

void plan_data(const RunConfig& config, RehearsedTrial& trial, RunPlan& plan) {
  const PlannedData data = trial.model().open_data();
  plan.documents = data.documents;
  plan.training_samples = data.samples;
  plan.training_tokens = data.tokens;
  plan.data = data.summary;
  plan.total_steps = total_steps(config.run, data.samples, config.batch.global);
  plan.warmup_steps = config.schedule.warmup.steps_of(plan.total_steps);
  plan.run_samples = plan.total_steps * config.batch.global;
  plan.epochs = static_cast<double>(plan.run_samples) / static_cast<double>(data.samples);
}

void plan_trial(const RehearsedTrial& trial, const RehearsedTrial::Place& place, const Scene& scene, RunPlan& plan) {
  plan.dtype = name_of(place.dtype);
  plan.products = tensor::name_of(place.products);
  plan.model = fmt::format("{}, {}, in {}", trial.model().description(), plan.dtype, scene.folder.string());
  plan.base_bytes = trial.base_bytes();
  const adapter::AdapterSet& adapters = trial.adapters();
  plan.adapted_layers = static_cast<std::int64_t>(adapters.site_indices().size());
  plan.flat_elements = adapters.space().size();
  for (const tensor::ParameterEntry& entry : adapters.space().entries()) {
    plan.parameters += entry.count();
  }
}

/// Rank 0's bytes on the host while it writes, as in MemoryFacts.
struct Writing {
  std::int64_t saving = 0;
  std::int64_t image = 0;
  std::int64_t check = 0;
};

std::vector<RankPlan> plan_ranks(RehearsedTrial& trial, const Scene& scene, const parallel::ReductionPlan& reduction,
                                 const Writing& writing) {
  MemoryFacts facts{.gpu = scene.gpu,
                    .base = trial.base_bytes(),
                    .mapped = trial.model().mapped_bytes(),
                    .adapters = trial.adapter_bytes(),
                    .start = trial.start_bytes(),
                    .encoding = trial.model().encoding_bytes(scene.gpu),
                    .passing = trial.pass()};
  std::vector<RankPlan> ranks;
  for (int rank = 0; rank < scene.target.ranks; ++rank) {
    const parallel::Range slice = reduction.gradient_of(rank);
    facts.buffers = parallel::buffer_bytes(reduction, rank);
    facts.moments = trial.state_bytes({slice.begin, slice.end});
    facts.saving = rank == 0 ? writing.saving : 0;
    facts.image = rank == 0 ? writing.image : 0;
    facts.check = rank == 0 ? writing.check : 0;
    facts.inputs = trial.model().input_bytes(trial.adapters(), rank, scene.target.ranks);
    const comm::Trace::Count bytes = parallel::bytes_per_update(reduction, rank).total();
    ranks.push_back({.micro_batches = reduction.micro_batches_of(rank).count(),
                     .state_elements = slice.count(),
                     .bytes_sent = bytes.bytes_sent,
                     .bytes_received = bytes.bytes_received,
                     .memory = memory_of_rank(facts)});
  }

  return ranks;
}

parallel::ReductionPlan plan_reduction_of(const RunConfig& config, const RehearsedTrial& trial, const Scene& scene) {
  return parallel::plan_reduction(reduction_request(config, chosen_reduction(config, scene.gpu),
                                                    trial.adapters().space().size(), scene.target.ranks));
}

/// What an export is checked with: blocks of rows of the trained weight, of the stored one, and what they are made of.
std::int64_t check_bytes(const RehearsedTrial& trial, const FilesOfRun& files) {
  if (files.largest_export == 0) {
    return 0;
  }
  constexpr std::int64_t kElementBytes = 20;
  std::int64_t largest = 0;
  for (const adapter::SitePlan& plan : trial.adapters().plans()) {
    const adapter::Site& site = trial.model().layers()[plan.site].site;
    const std::int64_t block = std::max(adapter::kEffectiveBlock, site.columns());
    largest = std::max(largest, std::min(site.out * site.columns(), block));
  }
  return kElementBytes * largest;
}

/// What rank 0 holds on the host while it writes: gathered moments and the shard's image, or an export's arrays with
/// their check, then with their file's image.
Writing writing_bytes(const RehearsedTrial& trial, const FilesOfRun& files) {
  const std::int64_t moments =
      std::ssize(trial.state_names()) * trial.adapters().space().size() * static_cast<std::int64_t>(sizeof(float));
  const std::int64_t check = check_bytes(trial, files);
  return {
      .saving = std::max({moments + files.checkpoint_shard, 2 * files.largest_export, files.largest_export + check}),
      .image = files.checkpoint_shard,
      .check = check};
}

bool saves_beside_training(const RunConfig& config) {
  const bool saves = config.checkpoint.every.unit != config::Cadence::Unit::kNever ||
                     (config.validation.every.unit != config::Cadence::Unit::kNever && config.validation.keep_best);
  return config.checkpoint.background && saves;
}

std::int64_t largest_peak(const std::vector<RankPlan>& ranks) {
  std::int64_t peak = 0;
  for (const RankPlan& rank : ranks) {
    peak = std::max(peak, rank.memory.peak);
  }
  return peak;
}

std::int64_t peak_of(const RunConfig& config, const Scene& scene) {
  RehearsedTrial trial(config, scene.folder, place_of(config, scene.gpu));
  static_cast<void>(trial.model().open_data());
  return largest_peak(plan_ranks(trial, scene, plan_reduction_of(config, trial, scene), {}));
}

}  // namespace

std::int64_t RunPlan::disk_bytes() const {
  std::int64_t bytes = 0;
  for (const FilePlan& file : files) {
    bytes += file.count * file.bytes;
  }
  return bytes;
}

RunPlan plan_run(const RunConfig& config, const PlanTarget& target) {
  Scene scene{.target = target,
              .gpu = target.gpu_memory.has_value() || config.run.device == "cuda",
              .folder = model_folder_of(config)};
  RunPlan plan{.gpu = scene.gpu};
  {
    const RehearsedTrial::Place place = place_of(config, scene.gpu);
    RehearsedTrial trial(config, scene.folder, place);
    plan_data(config, trial, plan);
    plan_trial(trial, place, scene, plan);
    const FilesOfRun files = plan_files({.config = config,
                                         .adapters = trial.adapters(),
                                         .model_folder = scene.folder,
                                         .state_arrays = trial.state_names(),
                                         .shared_arrays = trial.shared_shapes(),
                                         .total_steps = plan.total_steps,
                                         .samples = plan.training_samples});
    plan.files = files.files;
    const parallel::ReductionPlan reduction = plan_reduction_of(config, trial, scene);
    plan.micro_batches = reduction.request.micro_batches;
    plan.leaves = std::ssize(reduction.leaves);
    Writing writing = writing_bytes(trial, files);
    writing.image = saves_beside_training(config) ? writing.image : 0;
    plan.ranks = plan_ranks(trial, scene, reduction, writing);
  }
  plan.machines = plan_machines(plan.ranks, target.ranks_per_machine.value_or(target.ranks));
  if (target.gpu_memory) {
    plan.fit = fit_on_gpu(config, target.ranks, largest_peak(plan.ranks), *target.gpu_memory,
                          [&](const RunConfig& changed) { return peak_of(changed, scene); });
  }
  return plan;
}

}  // namespace dormer::train
