#include "dormer/train/run_plan.hpp"

#include "dormer/core/error.hpp"
#include "dormer/data/token_dataset.hpp"
#include "dormer/data/tokenizer_identity.hpp"
#include "dormer/parallel/plan.hpp"
#include "dormer/train/stored_model.hpp"
#include "train/decisions.hpp"
#include "train/startup.hpp"
#include "train/trial.hpp"

namespace dormer::train {
namespace {

void plan_data(const RunConfig& config, const StoredModel& stored, RunPlan& plan) {
  const std::int64_t positions = stored.model->facts().maximum_positions;
  require(config.data.sequence_length <= positions, Fault::kUsage,
          "data.sequence_length is {}, but the model in {} was made for at most {} positions",
          config.data.sequence_length, stored.folder.string(), positions);
  const data::TokenDataset data(config.data.train, data_use(config, *stored.model, stored.folder));
  plan.training_samples = data.samples();
  plan.training_tokens = data.tokens();
  plan.total_steps = total_steps(config.run, data.samples(), config.batch.global);
  plan.warmup_steps = config.schedule.warmup.steps_of(plan.total_steps);
}

void plan_adapters(const RunConfig& config, const StoredModel& stored, RunPlan& plan) {
  const model::LanguageModel& model = *stored.model;
  const adapter::AdapterSet adapters(config.adapter, model.layers(), RandomKey{},
                                     added_tokens(config.model, model, stored.folder));
  plan.adapted_layers = static_cast<std::int64_t>(adapters.site_indices().size());
  plan.flat_elements = adapters.space().size();
  for (const tensor::ParameterEntry& entry : adapters.space().entries()) {
    plan.parameters += entry.count();
  }
  plan.base_mapped = true;
  const auto element = static_cast<std::int64_t>(size_of(model.facts().compute_dtype));
  for (const adapter::FrozenLinear& layer : model.layers()) {
    plan.base_bytes += layer.site.out * layer.site.in * element;
    plan.base_mapped = plan.base_mapped && layer.weight.mapped();
  }
}

void plan_ranks(const RunConfig& config, int ranks, RunPlan& plan) {
  const parallel::ReductionPlan reduction =
      parallel::plan_reduction(reduction_request(config, plan.flat_elements, ranks));
  plan.micro_batches = reduction.request.micro_batches;
  plan.leaves = static_cast<std::int64_t>(reduction.leaves.size());
  for (int rank = 0; rank < ranks; ++rank) {
    plan.ranks.push_back({.micro_batches = reduction.micro_batches_of(rank).count(),
                          .state_elements = reduction.gradient_of(rank).count(),
                          .bytes_sent = parallel::bytes_per_update(reduction, rank).total().bytes_sent});
  }
}

}  // namespace

RunPlan plan_run(const RunConfig& config, int ranks) {
  const StoredModel stored =
      load_stored_model({.model = config.model.path, .adapter = std::nullopt, .dtype = config.model.dtype});
  const model::LanguageModelFacts& facts = stored.model->facts();
  RunPlan plan;
  plan.model = fmt::format("{}, {} blocks of width {}, {}, in {}", facts.family, facts.blocks, facts.hidden,
                           name_of(facts.compute_dtype), stored.folder.string());
  plan_data(config, stored, plan);
  plan_adapters(config, stored, plan);
  plan_ranks(config, ranks, plan);
  return plan;
}

}  // namespace dormer::train
