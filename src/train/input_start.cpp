#include "train/input_start.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <string>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/nonzero.h>

#include "dormer/adapter/input_moments.hpp"
#include "dormer/core/buffer_view.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/tensor/device_memory.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "train/agreement.hpp"

namespace dormer::train {
namespace {

using adapter::InputMoments;

constexpr std::int64_t kNotCounted = -100;  // as TokenBatch::targets

/// The frozen base on one sample. Tokens that are added to the vocabulary have no row in it, and are taken from the
/// adapters, whose changes are still zero.
void pass_forward(const model::LanguageModel& model, const data::TokenBatch& sample,
                  const adapter::AdapterSet& adapters, adapter::InputObserver& observer) {
  const tensor::NoRecording guard;
  adapter::Pack pack = adapter::Pack::solo(adapters.added_tokens() != nullptr ? &adapters : nullptr, 1);
  pack.observer = &observer;
  const at::Tensor tokens = sample.inputs();
  static_cast<void>(model.hidden_states({.tokens = tokens, .document_begin = sample.document_begin()}, pack, nullptr));
}

/// Ranks of the sites whose A is made from their inputs. Where the start is eva, what is no LoRA of a linear layer
/// trains whole weights (`plan_sites`).
std::map<std::size_t, std::int64_t> wanted_ranks(const adapter::AdapterSet& adapters) {
  std::map<std::size_t, std::int64_t> ranks;
  for (const adapter::SitePlan& plan : adapters.plans()) {
    if (!plan.whole) {
      ranks.emplace(plan.site, plan.rank);
    }
  }
  return ranks;
}

class InputFinder final : public adapter::InputObserver {
 public:
  explicit InputFinder(std::map<std::size_t, std::int64_t> ranks) : ranks_(std::move(ranks)) {}

  void see(const adapter::Site& site, const at::Tensor& x) override {
    const auto wanted = ranks_.find(site.index);
    if (wanted == ranks_.end()) {
      return;
    }
    if (!last_.is_same(x)) {
      inputs.push_back({.width = x.size(1)});
      last_ = x;  // kept, so that no other input can stand in its place
    }
    inputs.back().rank = std::max(inputs.back().rank, wanted->second);
    inputs.back().sites.push_back(site.index);
  }

  std::vector<SharedInput> inputs;

 private:
  std::map<std::size_t, std::int64_t> ranks_;
  at::Tensor last_;
};

class InputCollector final : public adapter::InputObserver {
 public:
  InputCollector(std::span<const SharedInput> all, const InputPass& pass) {
    for (const std::size_t input : pass.inputs) {
      moments_.try_emplace(all[input].sites.front(), all[input].width);
    }
  }
  /// Numbers of the positions that count in the sample that passes next.
  void count_at(const at::Tensor& positions) { positions_ = positions; }

  void see(const adapter::Site& site, const at::Tensor& x) override {
    if (const auto found = moments_.find(site.index); found != moments_.end()) {
      found->second.add(at::index_select(x.cpu(), 0, positions_));
    }
  }

  [[nodiscard]] at::Tensor take_directions(const SharedInput& input) {
    return moments_.at(input.sites.front()).take_directions(input.rank);
  }

 private:
  std::map<std::size_t, InputMoments> moments_;
  at::Tensor positions_;
};

data::TokenBatch sample_of(const InputStart& start, std::int64_t position) {
  const std::int64_t sample = start.order.sample_at(position);
  return start.data.batch({&sample, 1});
}

std::int64_t samples_of(const InputStart& start) {
  return std::min(start.samples, start.data.samples());
}

void measure_inputs(const InputStart& start, const adapter::AdapterSet& adapters, std::span<const SharedInput> all,
                    const InputPass& pass, std::vector<at::Tensor>& directions) {
  InputCollector collector(all, pass);
  for (std::int64_t position = 0; position < samples_of(start); ++position) {
    const data::TokenBatch sample = sample_of(start, position);
    collector.count_at(at::nonzero(sample.targets().reshape({-1}).ne(kNotCounted)).reshape({-1}));
    pass_forward(start.model, sample, adapters, collector);
  }
  for (const std::size_t input : pass.inputs) {
    directions[input] = collector.take_directions(all[input]);
  }
}

/// How many positions the samples have; more than the largest rank, or there are not that many directions.
std::int64_t require_positions(const InputStart& start, std::span<const SharedInput> inputs) {
  std::int64_t positions = 0;
  for (std::int64_t position = 0; position < samples_of(start); ++position) {
    positions += start.data.targets(start.order.sample_at(position));
  }
  for (const SharedInput& input : inputs) {
    require(positions > input.rank, Fault::kUsage,
            "adapter.start_samples: {} samples have {} counted positions, too few for {} directions of {}; raise it, "
            "or lower adapter.rank",
            samples_of(start), positions, input.rank, start.model.layers()[input.sites.front()].site.name);
  }
  return positions;
}

/// Every layer takes as many of its input's directions as its own rank.
void write_directions(const SharedInput& input, const model::LanguageModel& model, const at::Tensor& directions,
                      adapter::AdapterSet& adapters) {
  const tensor::FlatSpace& space = adapters.space();
  for (const std::size_t site : input.sites) {
    const std::size_t index = space.index_of(model.layers()[site].site.name + ".lora_A");
    const at::Tensor a = tensor::FlatSpace::unpadded_part(space.values(), space.entries()[index]);
    a.copy_(directions.narrow(0, 0, a.size(0)));
  }
}

}  // namespace

std::int64_t InputPass::sum_bytes(std::span<const SharedInput> all) const {
  return std::accumulate(inputs.begin(), inputs.end(), std::int64_t{0}, [&](std::int64_t sum, std::size_t input) {
    return sum + InputMoments::bytes(all[input].width);
  });
}

std::int64_t InputPass::working_bytes(std::span<const SharedInput> all) const {
  return std::accumulate(inputs.begin(), inputs.end(), std::int64_t{0}, [&](std::int64_t most, std::size_t input) {
    return std::max(most, InputMoments::working_bytes(all[input].width));
  });
}

std::vector<SharedInput> shared_inputs(const model::LanguageModel& model, const data::TokenBatch& sample,
                                       const adapter::AdapterSet& adapters) {
  InputFinder finder(wanted_ranks(adapters));
  pass_forward(model, sample, adapters, finder);
  return std::move(finder.inputs);
}

std::vector<InputPass> plan_input_passes(std::span<const SharedInput> inputs, int ranks, std::int64_t pass_bytes) {
  std::vector<std::size_t> order(inputs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return inputs[a].width > inputs[b].width; });
  std::vector<std::vector<std::size_t>> of_rank(static_cast<std::size_t>(ranks));
  std::vector<double> work(of_rank.size(), 0.0);
  for (const std::size_t input : order) {
    const auto least = std::min_element(work.begin(), work.end());
    const auto width = static_cast<double>(inputs[input].width);
    *least += width * width * width;  // of a decomposition
    of_rank[static_cast<std::size_t>(least - work.begin())].push_back(input);
  }
  std::vector<InputPass> passes;
  for (int rank = 0; rank < ranks; ++rank) {
    for (const std::size_t input : of_rank[static_cast<std::size_t>(rank)]) {
      const bool opens = passes.empty() || passes.back().rank != rank ||
                         passes.back().sum_bytes(inputs) + InputMoments::bytes(inputs[input].width) > pass_bytes;
      if (opens) {
        passes.push_back({.rank = rank});
      }
      passes.back().inputs.push_back(input);
    }
  }
  return passes;
}

void start_from_inputs(comm::Communicator& communicator, const InputStart& start, adapter::AdapterSet& adapters) {
  const tensor::NoRecording guard;
  std::vector<SharedInput> inputs;
  std::vector<InputPass> passes;
  std::vector<at::Tensor> directions;
  agree(communicator, [&] {
    inputs = shared_inputs(start.model, sample_of(start, 0), adapters);
    passes = plan_input_passes(inputs, communicator.size(), kInputPassBytes);
    const std::int64_t positions = require_positions(start, inputs);
    log::info("adapter.start: eva takes {} inputs of layers from {} positions of {} samples", inputs.size(), positions,
              samples_of(start));
    for (const SharedInput& input : inputs) {
      directions.push_back(at::empty({input.rank, input.width}, at::kFloat));
    }
    for (const InputPass& pass : passes) {
      if (pass.rank == communicator.rank()) {
        measure_inputs(start, adapters, inputs, pass, directions);
      }
    }
  });
  for (const InputPass& pass : passes) {
    for (const std::size_t input : pass.inputs) {
      communicator.broadcast(view(tensor::span_of(directions[input])), pass.rank).wait();
      write_directions(inputs[input], start.model, directions[input], adapters);
    }
  }
  adapters.space().mark_written();
  adapters.refresh();
}

}  // namespace dormer::train
