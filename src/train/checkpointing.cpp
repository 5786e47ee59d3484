#include "train/checkpointing.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include <ATen/core/Tensor.h>

#include "dormer/adapter/change.hpp"
#include "dormer/core/buffer_view.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/tensor/device_memory.hpp"
#include "train/agreement.hpp"
#include "train/evaluation_point.hpp"

namespace dormer::train {
namespace {

constexpr std::string_view kParameters = "parameters/";
constexpr std::string_view kMoments = "moments/";
constexpr std::string_view kTrained = "moments/trained/";  // where `parameters` are an average of them
constexpr std::string_view kStarts = "starts/";

bool any_set_aside(const std::filesystem::path& folder) {
  std::error_code code;
  for (const auto& entry : std::filesystem::directory_iterator(folder, code)) {
    if (entry.path().filename().string().find(".corrupt") != std::string::npos) {
      return true;
    }
  }
  return false;
}

// Rank 0's search; the folder's name, or nothing.
std::string newest_good(const std::filesystem::path& parent) {
  for (const storage::CheckpointPlace& place : storage::list_checkpoints(parent)) {
    try {
      static_cast<void>(parse_run_state(storage::load_checkpoint(place.folder).state, place.folder.string()));
      return place.folder.filename().string();
    } catch (const Error& error) {
      if (error.fault() != Fault::kInput) {
        throw;
      }
      const std::filesystem::path aside = storage::quarantine(place.folder);
      log::warn("{}; set aside as {}, trying the one before", error.what(), aside.string());
    }
  }
  require(!any_set_aside(parent), Fault::kInput,
          "no good checkpoint is left in {} (bad ones end in .corrupt); put one back, or choose another run.directory "
          "to start over",
          parent.string());
  return {};
}

/// Calls `change` with the values on the host; on a device with a copy of them, which is then copied back.
void change_on_host(const at::Tensor& values, const std::function<void(std::span<float>)>& change) {
  const at::Tensor on_host = values.cpu();  // the same tensor where it lies there already
  change(tensor::span_of(on_host));
  values.copy_(on_host);
}

const storage::StoredArray& require_array(const storage::Checkpoint& checkpoint, const std::string& name,
                                          const std::vector<std::int64_t>& shape, const std::filesystem::path& folder) {
  const storage::StoredArray* array = checkpoint.find(name);
  require(array != nullptr, Fault::kInput,
          "{} has no array {}: it belongs to another run; choose another run.directory", folder.string(), name);
  require(
      array->dtype == DType::kF32 && array->shape == shape, Fault::kInput,
      "{} in {} has another shape or dtype than this run's: it belongs to another run; choose another run.directory",
      name, folder.string());
  return *array;
}

// Copies the elements of an array that lie in `slice` of the flat space to where they belong in `target`, the slice's
// own memory.
void copy_into(std::span<float> target, optim::ElementRange slice, const tensor::ParameterEntry& entry,
               const storage::StoredArray& array) {
  const std::int64_t begin = std::max(slice.begin, entry.offset);
  const std::int64_t end = std::min(slice.end, entry.offset + entry.count());
  if (begin < end) {
    std::memcpy(target.data() + (begin - slice.begin),
                array.bytes.data() + (begin - entry.offset) * static_cast<std::int64_t>(sizeof(float)),
                static_cast<std::size_t>(end - begin) * sizeof(float));
  }
}

void copy_starts(const storage::Checkpoint& checkpoint, const std::filesystem::path& folder, Trial& trial) {
  for (const auto& [parameter, start] : trial.adapters().start_values()) {
    const storage::StoredArray& array =
        require_array(checkpoint, fmt::format("{}{}", kStarts, parameter), start.sizes().vec(), folder);
    change_on_host(start, [&bytes = array.bytes](std::span<float> values) {
      std::memcpy(values.data(), bytes.data(), values.size_bytes());
    });
  }
}

void copy_parameters(const storage::Checkpoint& checkpoint, const std::filesystem::path& folder,
                     std::string_view prefix, Trial& trial) {
  const tensor::FlatSpace& space = trial.adapters().space();
  change_on_host(space.values(), [&](std::span<float> values) {
    for (const tensor::ParameterEntry& entry : space.entries()) {
      const std::string name = fmt::format("{}{}", prefix, entry.name);
      copy_into(values, {0, space.size()}, entry, require_array(checkpoint, name, entry.shape, folder));
    }
  });
  copy_starts(checkpoint, folder, trial);
  trial.adapters().space().mark_written();
  trial.adapters().refresh();
}

void copy_moments(const storage::Checkpoint& checkpoint, const std::filesystem::path& folder, Trial& trial) {
  for (const optim::SharedArray& shared : trial.optimizer().shared_state()) {
    const storage::StoredArray& array =
        require_array(checkpoint, fmt::format("{}{}", kMoments, shared.name), shared.shape, folder);
    change_on_host(tensor::borrowed(shared.values, shared.device), [&array](std::span<float> values) {
      std::memcpy(values.data(), array.bytes.data(), values.size_bytes());
    });
  }
  for (const optim::StateArray& state : trial.optimizer().state()) {
    change_on_host(tensor::borrowed(state.values, trial.device()), [&](std::span<float> values) {
      for (const tensor::ParameterEntry& entry : trial.adapters().space().entries()) {
        const std::string name = fmt::format("{}{}/{}", kMoments, state.name, entry.name);
        copy_into(values, trial.optimizer().slice(), entry, require_array(checkpoint, name, entry.shape, folder));
      }
    });
  }
  trial.optimizer().close_state(/*filled=*/true);
}

// The whole of a state array on rank 0; nothing elsewhere.
std::vector<float> gather_to_first(comm::Communicator& communicator, const parallel::ReductionPlan& plan,
                                   std::span<const float> own) {
  std::vector<float> whole;
  std::vector<comm::Send> sends;
  std::vector<comm::Receive> receives;
  if (communicator.rank() == 0) {
    whole.resize(static_cast<std::size_t>(plan.slices.size));
    std::copy(own.begin(), own.end(), whole.begin() + plan.gradient_of(0).begin);
    for (int rank = 1; rank < communicator.size() && plan.request.shard_optimizer; ++rank) {
      const parallel::Range slice = plan.gradient_of(rank);
      const std::span<float> place =
          std::span(whole).subspan(static_cast<std::size_t>(slice.begin), static_cast<std::size_t>(slice.count()));
      receives.push_back({rank, view(place)});
    }
  } else if (plan.request.shard_optimizer) {
    sends.push_back({0, view(own)});
  }
  communicator.exchange(sends, receives).wait();
  return whole;
}

/// The arrays of a checkpoint, as views of flat buffers that outlive it.
std::vector<storage::NamedArray> named_arrays(const tensor::FlatSpace& space, const std::string& prefix,
                                              std::span<const float> flat) {
  std::vector<storage::NamedArray> arrays;
  for (const tensor::ParameterEntry& entry : space.entries()) {
    const auto values = flat.subspan(static_cast<std::size_t>(entry.offset), static_cast<std::size_t>(entry.count()));
    arrays.push_back({prefix + entry.name, DType::kF32, entry.shape, std::as_bytes(values)});
  }
  return arrays;
}

/// The optimizer's arrays that all ranks hold alike, on the host.
std::vector<std::pair<std::string, at::Tensor>> shared_on_host(optim::Optimizer& optimizer) {
  std::vector<std::pair<std::string, at::Tensor>> arrays;
  for (const optim::SharedArray& shared : optimizer.shared_state()) {
    const at::Tensor values = tensor::borrowed(shared.values, shared.device).view(shared.shape);
    arrays.emplace_back(fmt::format("{}{}", kMoments, shared.name), values.cpu().clone());
  }
  return arrays;
}

std::vector<adapter::StartValue> starts_on_host(const adapter::AdapterSet& adapters) {
  std::vector<adapter::StartValue> starts = adapters.start_values();
  for (auto& [parameter, values] : starts) {
    values = values.cpu();
  }
  return starts;
}

void require_finite(const storage::NamedArray& array, std::int64_t step) {
  const auto* values = reinterpret_cast<const float*>(array.bytes.data());
  const bool finite = std::all_of(values, values + array.bytes.size() / sizeof(float),
                                  [](float value) { return std::isfinite(value); });
  require(finite, Fault::kNumerical,
          "{} is not finite after update {}; nothing was saved, earlier checkpoints are as they were: lower "
          "optimizer.learning_rate",
          array.name, step);
}

}  // namespace

void retire_superseded(const RunPaths& paths, const KeepSection& keep) {
  std::vector<StoredCheckpoint> stored;
  for (const storage::CheckpointPlace& place : storage::list_checkpoints(paths.checkpoints())) {
    RunState state;  // one that cannot be read has no loss, and is set aside when a run would go on from it
    static_cast<void>(
        caught([&] { state = parse_run_state(storage::read_manifest(place.folder).state, place.folder.string()); }));
    stored.push_back({place.step, state.step_validation_loss});
  }
  storage::retire(paths.checkpoints(), std::max<std::int64_t>(keep.last, 1), best_steps(stored, keep.best));
}

std::optional<ResumePoint> find_resume_point(comm::Communicator& communicator, const RunPaths& paths) {
  const std::string name = agree_on_text(communicator, [&] { return newest_good(paths.checkpoints()); });
  if (name.empty()) {
    return std::nullopt;
  }
  ResumePoint point{.folder = paths.checkpoints() / name, .state = {}};
  agree(communicator,
        [&] { point.state = parse_run_state(storage::read_manifest(point.folder).state, point.folder.string()); });
  return point;
}

void share_start(comm::Communicator& communicator, Trial& trial) {
  const std::vector<adapter::StartValue> starts = trial.adapters().start_values();
  if (starts.empty()) {
    return;
  }
  const auto share = [&](const at::Tensor& values) {
    change_on_host(values, [&](std::span<float> own) { communicator.broadcast(view(own), 0).wait(); });
  };
  for (const auto& [parameter, values] : starts) {
    share(values);
  }
  share(trial.adapters().space().values());
  trial.adapters().space().mark_written();
  trial.adapters().refresh();
}

std::optional<std::filesystem::path> checkpoint_of(const RunPaths& paths, std::int64_t step) {
  for (const storage::CheckpointPlace& place : storage::list_checkpoints(paths.checkpoints())) {
    if (place.step == step) {
      return place.folder;
    }
  }
  return std::nullopt;
}

void restore(comm::Communicator& communicator, const ResumePoint& point, Trial& trial) {
  agree(communicator, [&] {
    const storage::Checkpoint checkpoint = storage::load_checkpoint(point.folder);
    copy_parameters(checkpoint, point.folder, trial.optimizer().averages() ? kTrained : kParameters, trial);
    copy_moments(checkpoint, point.folder, trial);
  });
}

void restore_parameters(comm::Communicator& communicator, const std::filesystem::path& folder, Trial& trial) {
  agree(communicator, [&] { copy_parameters(storage::load_checkpoint(folder), folder, kParameters, trial); });
}

std::optional<storage::CheckpointImage> image_of(comm::Communicator& communicator, const RunState& state,
                                                 Trial& trial) {
  const tensor::FlatSpace& space = trial.adapters().space();
  const EvaluationPoint evaluation(trial);
  std::vector<std::pair<std::string, std::vector<float>>> moments;
  for (const optim::StateArray& array : trial.optimizer().state()) {
    const at::Tensor own = tensor::borrowed(array.values, trial.device()).cpu();
    moments.emplace_back(fmt::format("{}{}/", kMoments, array.name),
                         gather_to_first(communicator, trial.plan(), tensor::span_of(own)));
  }
  if (const at::Tensor* trained = evaluation.trained(); trained != nullptr && communicator.rank() == 0) {
    const at::Tensor on_host = trained->cpu();
    const std::span<float> values = tensor::span_of(on_host);
    moments.emplace_back(kTrained, std::vector<float>(values.begin(), values.end()));
  }
  const std::vector<std::pair<std::string, at::Tensor>> shared = shared_on_host(trial.optimizer());
  trial.optimizer().close_state(/*filled=*/false);
  std::optional<storage::CheckpointImage> image;
  agree(communicator, [&] {
    if (communicator.rank() > 0) {
      return;
    }
    const at::Tensor parameters = space.values().cpu();  // these own what `arrays` names
    const std::vector<adapter::StartValue> starts = starts_on_host(trial.adapters());
    std::vector<storage::NamedArray> arrays =
        named_arrays(space, std::string(kParameters), tensor::span_of(parameters));
    for (const auto& [prefix, values] : moments) {
      const std::vector<storage::NamedArray> more = named_arrays(space, prefix, values);
      arrays.insert(arrays.end(), more.begin(), more.end());
    }
    for (const auto& [name, values] : shared) {
      arrays.push_back({name, DType::kF32, values.sizes().vec(), std::as_bytes(tensor::span_of(values))});
    }
    for (const auto& [parameter, values] : starts) {
      arrays.push_back({fmt::format("{}{}", kStarts, parameter), DType::kF32, values.sizes().vec(),
                        std::as_bytes(tensor::span_of(values))});
    }
    std::for_each(arrays.begin(), arrays.end(),
                  [&](const storage::NamedArray& array) { require_finite(array, state.step); });
    image = storage::build_checkpoint(state.step, arrays, to_text(state));
  });
  return image;
}

}  // namespace dormer::train
