#include "train/trace_file.hpp"

#include <fmt/format.h>

#include "dormer/core/error.hpp"
#include "dormer/storage/safetensors.hpp"
#include "dormer/tensor/device_memory.hpp"
#include "train/agreement.hpp"
#include "train/trial.hpp"

namespace dormer::train {
namespace {

constexpr std::string_view kFormat = "dormer.trace/1";

/// Arrays to write, with the tensors that own their memory.
class Arrays {
 public:
  void add(std::string name, const at::Tensor& tensor, DType dtype) {
    const at::Tensor& kept = kept_.emplace_back(tensor.contiguous().cpu());
    add_bytes(std::move(name), {static_cast<const std::byte*>(kept.const_data_ptr()), kept.nbytes()}, dtype,
              kept.sizes().vec());
  }
  void add_bytes(std::string name, std::span<const std::byte> bytes, DType dtype, std::vector<std::int64_t> shape) {
    arrays_.push_back({std::move(name), dtype, std::move(shape), bytes});
  }
  [[nodiscard]] std::span<const storage::NamedArray> arrays() const { return arrays_; }

 private:
  std::vector<at::Tensor> kept_;
  std::vector<storage::NamedArray> arrays_;
};

void add_parameters(Arrays& arrays, const std::string& prefix, const at::Tensor& flat, const tensor::FlatSpace& space) {
  for (const tensor::ParameterEntry& entry : space.entries()) {
    at::Tensor values = tensor::FlatSpace::unpadded_part(flat, entry);
    if (entry.role == tensor::ParameterRole::kFactorOut) {
      values = values.t();  // stored as [rank, out]
    }
    arrays.add(prefix + exchange_name(entry), values, DType::kF32);
  }
}

std::vector<double> gather_losses(comm::Communicator& communicator, const TraceContents& contents) {
  std::vector<std::int64_t> counts;
  for (int rank = 0; rank < communicator.size(); ++rank) {
    counts.push_back(contents.trial.plan().micro_batches_of(rank).count());
  }
  return parallel::gather_in_rank_order(communicator, contents.trace.own_losses, counts);
}

void write(const std::filesystem::path& file, const TraceContents& contents, const std::vector<double>& losses) {
  std::vector<std::int64_t> samples;
  for (std::int64_t index = 0; index < contents.trial.batch().global; ++index) {
    samples.push_back(contents.inputs.task.sample_at(contents.inputs.position + index));
  }
  const std::vector<double> scalars{contents.report.loss, contents.report.gradient_norm, contents.report.learning_rate};
  const std::span<const std::byte> scalar_bytes = std::as_bytes(std::span(scalars));
  const tensor::FlatSpace& space = contents.trial.adapters().space();
  Arrays arrays;
  arrays.add_bytes("samples", std::as_bytes(std::span(samples)), DType::kI64, {contents.trial.batch().global});
  contents.inputs.task.visit_arrays(
      {contents.inputs.position, contents.trial.batch().global},
      [&](const std::string& name, const at::Tensor& values, DType dtype) { arrays.add(name, values, dtype); });
  arrays.add_bytes("losses", std::as_bytes(std::span(losses)), DType::kF64, {static_cast<std::int64_t>(losses.size())});
  arrays.add_bytes("loss", scalar_bytes.subspan(0, sizeof(double)), DType::kF64, {1});
  arrays.add_bytes("gradient_norm", scalar_bytes.subspan(sizeof(double), sizeof(double)), DType::kF64, {1});
  arrays.add_bytes("learning_rate", scalar_bytes.subspan(2 * sizeof(double)), DType::kF64, {1});
  add_parameters(arrays, "before.", contents.trace.before, space);
  add_parameters(arrays, "gradient.", contents.trace.gradient, space);
  add_parameters(arrays, "after.", contents.trace.after, space);
  for (const auto& [site, norm] : contents.trace.norms) {
    arrays.add("norm." + site, norm, DType::kF32);
  }
  std::filesystem::create_directories(file.parent_path());
  storage::write_safetensors(file, arrays.arrays(),
                             {{"format", std::string(kFormat)}, {"step", fmt::format("{}", contents.inputs.step + 1)}});
}

}  // namespace

std::string exchange_name(const tensor::ParameterEntry& entry) {
  if (entry.role == tensor::ParameterRole::kMagnitude) {
    return entry.name.substr(0, entry.name.rfind('.')) + ".lora_magnitude_vector";
  }
  const bool bare =
      entry.role == tensor::ParameterRole::kFull || entry.name.find(".lora_embedding_") != std::string::npos;
  return bare ? entry.name : entry.name + ".weight";
}

void record_before(UpdateTrace& trace, const adapter::AdapterSet& adapters) {
  trace.before = adapters.space().values().clone();
  for (std::size_t index = 0; index < adapters.site_indices().size(); ++index) {
    if (const at::Tensor* norm = adapters.norm(adapters.site_indices()[index]); norm != nullptr) {
      trace.norms.emplace_back(adapters.site_names()[index], norm->clone());
    }
  }
}

void record_gradient(UpdateTrace& trace, const parallel::Links& links, const parallel::ReductionPlan& plan,
                     std::span<const float> own) {
  trace.gradient = trace.before.clone();
  const parallel::Range slice = plan.gradient_of(links.host.rank());
  trace.gradient.narrow(0, slice.begin, slice.count()).copy_(tensor::borrowed(own, links.device));
  if (plan.request.shard_optimizer) {
    parallel::gather_slices(links.gradients, plan.slices, tensor::span_of(trace.gradient));
  }
}

void record_after(UpdateTrace& trace, const adapter::AdapterSet& adapters) {
  trace.after = adapters.space().values().clone();
}

void write_trace(comm::Communicator& communicator, const std::filesystem::path& file, const TraceContents& contents) {
  const std::vector<double> losses = gather_losses(communicator, contents);
  agree(communicator, [&] {
    if (communicator.rank() == 0) {
      write(file, contents, losses);
    }
  });
}

}  // namespace dormer::train
