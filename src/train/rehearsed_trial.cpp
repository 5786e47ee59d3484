#include "train/rehearsed_trial.hpp"

#include <algorithm>
#include <string>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>

#include "dormer/adapter/weight_change.hpp"
#include "train/trial.hpp"

namespace dormer::train {
namespace {

adapter::AdapterSet build_adapters(const RunConfig& config, const RehearsedModel& model, std::int64_t& bytes,
                                   std::int64_t& peak) {
  const Meter meter;
  adapter::AdapterSet adapters(config.adapter, model.layers(), RandomKey{}, model.added_tokens());
  bytes = meter.live();
  peak = meter.peak();
  return adapters;
}

}  // namespace

RehearsedTrial::RehearsedTrial(const RunConfig& config, const std::filesystem::path& folder, const Place& place)
    : config_(config),
      rehearsal_(place.products),
      model_(rehearse_model(config, folder, place.dtype, base_bytes_)),
      adapters_(build_adapters(config, *model_, adapter_bytes_, start_bytes_)) {}

std::unique_ptr<optim::Optimizer> RehearsedTrial::make_optimizer(optim::ElementRange slice,
                                                                 const std::string& device) const {
  return train::make_optimizer(config_, adapters_.space(), slice, device);
}

std::int64_t RehearsedTrial::state_bytes(optim::ElementRange slice) const {
  return static_cast<std::int64_t>(make_optimizer(slice, tensor::kShapesDevice)->state_bytes());
}

std::vector<std::string> RehearsedTrial::state_names() const {
  std::vector<std::string> names;
  const std::unique_ptr<optim::Optimizer> empty = make_optimizer({0, 0}, "cpu");
  for (const optim::StateArray& array : empty->state()) {
    names.push_back(array.name);
  }
  if (empty->averages()) {
    names.emplace_back("trained");
  }
  return names;
}

std::vector<SharedShape> RehearsedTrial::shared_shapes() const {
  std::vector<SharedShape> shapes;
  const std::unique_ptr<optim::Optimizer> empty = make_optimizer({0, 0}, "cpu");
  for (const optim::SharedArray& array : empty->shared_state()) {
    shapes.push_back({array.name, array.shape});
  }
  return shapes;
}

void RehearsedTrial::measure_micro_batch(PassingBytes& bytes) {
  {
    const Meter meter;
    model_->validate(adapters_);
    bytes.validation = meter.peak();
  }
  bytes.pictures = model_->picture_bytes(adapters_);
  adapter::Pack pack = adapter::Pack::solo(&adapters_, config_.batch.micro);
  if (adapters_.has_dropout()) {
    pack.segments.front().dropout_keys = adapter::dropout_keys(RandomKey{}, 0, 0, config_.batch.micro);
  }
  const std::int64_t loss = model_->loss_alone(adapters_);
  const Meter meter;
  if (adapters_.has_dropout()) {
    adapters_.rehearse_dropout();
  }
  model_->micro_batch(pack);
  bytes.loss = std::min(loss, meter.peak());
  bytes.activations = meter.peak() - bytes.loss;
}

PassingBytes RehearsedTrial::pass() {
  const at::Tensor gradient = at::empty_like(adapters_.space().values());
  adapters_.space().bind_gradient(gradient);
  PassingBytes bytes;
  measure_micro_batch(bytes);
  {
    const Meter meter;
    adapters_.space().mark_written();
    adapters_.refresh();
    bytes.norms = meter.peak();
  }
  const Meter meter;
  static_cast<void>(adapter::measure_weight_changes(adapters_, model_->layers()));
  bytes.report = meter.peak();
  return bytes;
}

}  // namespace dormer::train
