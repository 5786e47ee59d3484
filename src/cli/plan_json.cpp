#include <nlohmann/json.hpp>

#include "plan_output.hpp"

namespace dormer::cli {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const train::RankPlan& rank) {
  const train::RankMemory& memory = rank.memory;
  return {{"micro_batches", rank.micro_batches},
          {"bytes_sent", rank.bytes_sent},
          {"bytes_received", rank.bytes_received},
          {"memory",
           {{"mapped", memory.mapped},
            {"base", memory.base},
            {"packed_copies", memory.packed_copies},
            {"adapters", memory.adapters},
            {"gradients", memory.gradients},
            {"moments", memory.moments},
            {"buffers", memory.buffers},
            {"activations", memory.activations},
            {"loss", memory.loss},
            {"saving", memory.saving},
            {"peak", memory.peak},
            {"tensors", memory.tensors},
            {"busiest", memory.busiest}}}};
}

Json to_json(const train::GpuFit& fit) {
  Json json{{"available", fit.available},
            {"assumed", fit.assumed},
            {"needed", fit.needed},
            {"fits", fit.fits},
            {"changes", Json::array()}};
  for (const train::ChangePlan& change : fit.changes) {
    json["changes"].push_back({{"change", change.change}, {"peak", change.peak}, {"fits", change.fits}});
  }
  return json;
}

}  // namespace

std::string plan_json(const train::RunConfig& config, const train::RunPlan& plan, std::int64_t program_bytes) {
  Json json{{"format", "dormer.plan/1"},
            {"run", config.name()},
            {"model", plan.model},
            {"dtype", plan.dtype},
            {"products", plan.products},
            {"device", plan.gpu ? "cuda" : "cpu"},
            {"updates", plan.total_steps},
            {"warmup_updates", plan.warmup_steps},
            {"samples", plan.run_samples},
            {"epochs", plan.epochs},
            {"training_samples", plan.training_samples},
            {"training_tokens", plan.training_tokens},
            {"documents", plan.documents},
            {"micro_batches", plan.micro_batches},
            {"leaves", plan.leaves},
            {"adapted_layers", plan.adapted_layers},
            {"parameters", plan.parameters},
            {"base_bytes", plan.base_bytes},
            {"program", program_bytes},
            {"ranks", Json::array()},
            {"machines", Json::array()},
            {"files", Json::array()},
            {"disk", plan.disk_bytes()}};
  for (const train::RankPlan& rank : plan.ranks) {
    Json of_rank = to_json(rank);
    if (!plan.gpu) {
      of_rank["memory"]["resident"] = train::resident_bytes(rank.memory, program_bytes);
    }
    json["ranks"].push_back(std::move(of_rank));
  }
  for (const train::MachinePlan& machine : plan.machines) {
    json["machines"].push_back(
        {{"ranks", machine.ranks}, {"own", machine.own}, {"mapped", machine.mapped}, {"total", machine.total()}});
  }
  for (const train::FilePlan& file : plan.files) {
    json["files"].push_back({{"name", file.name}, {"count", file.count}, {"bytes", file.bytes}});
  }
  if (plan.fit) {
    json["gpu"] = to_json(*plan.fit);
  }
  return json.dump(2) + "\n";
}

}  // namespace dormer::cli
