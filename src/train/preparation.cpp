#include "train/preparation.hpp"

#include <limits>

#include <fmt/ranges.h>

#include "dormer/comm/mpi_module.hpp"
#include "dormer/comm/watched.hpp"
#include "dormer/config/write.hpp"
#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/core/stop.hpp"
#include "dormer/data/tokenizer_identity.hpp"
#include "dormer/interop/adapter_format.hpp"
#include "dormer/model/model_folder.hpp"
#include "train/agreement.hpp"
#include "train/exporting.hpp"
#include "train/image_folder.hpp"
#include "train/image_preparation.hpp"
#include "train/image_task.hpp"
#include "train/input_start.hpp"
#include "train/memory_estimate.hpp"
#include "train/model_staging.hpp"
#include "train/text_task.hpp"

namespace dormer::train {
namespace {

bool same_length(const std::map<std::string, std::string>& stored, const std::map<std::string, std::string>& current) {
  const auto value = [](const std::map<std::string, std::string>& config, const char* key) {
    const auto found = config.find(key);
    return found == config.end() ? std::string() : found->second;
  };
  return value(stored, "run.steps") == value(current, "run.steps") &&
         value(stored, "run.epochs") == value(current, "run.epochs");
}

}  // namespace

Preparation::Preparation(const RunConfig& run_config, comm::Communicator& ranks, const TrainOptions& options)
    : config(run_config),
      communicator(ranks),
      paths{run_config.run.directory},
      heartbeat_(options.heartbeat),
      bases_(options.bases),
      bare_(options.bare),
      pictures_(options.pictures),
      check_inputs_(options.check_inputs) {
  agree(communicator, [&] { faults = FaultHooks::from_environment(communicator.rank()); });
  faults.reach("start", 0);
  require_equal(communicator, "build of the program", comm::mpi_build_id(), "start one program on all machines");
  require_equal(communicator, "configuration",
                fmt::format("{}\ntrace {}-{}", config::dump(config), options.traced.first, options.traced.last),
                "start all ranks with one file and one command line");
  placement = take_device(communicator, config.run.device);
  agree(communicator, [&] {
    if (communicator.rank() == 0) {
      lock = std::make_unique<RunLock>(paths);
      if (!bare_) {
        log::also_to(paths.log());
      }
    }
  });
  find_checkpoint();
}

void Preparation::find_checkpoint() {
  enter(Heartbeat::Phase::kStart, "looking for a checkpoint");
  resume_ = find_resume_point(communicator, paths);
  require(!resume_ || config.run.resume != "never", Fault::kUsage,
          "{} holds a run of {} updates and run.resume is never; choose another run.directory, or run.resume: auto",
          paths.root.string(), resume_ ? resume_->state.step : 0);
  resumed = resume_.has_value();
  if (resumed) {  // before anything is loaded: the configuration; model and data follow
    static_cast<void>(require_resumable(resume_->state.config, config::flatten(config), {}, {}));
    if (communicator.rank() == 0) {  // a life that was killed after its last save has not come to that
      if (const std::optional<Failure> failure = caught([&] { retire_superseded(paths, config.checkpoint.keep); })) {
        log::warn("{}", failure->message);
      }
    }
  }
}

std::optional<TrainResult> Preparation::already_complete() {
  if (!resume_ || !resume_->state.finished || !same_length(resume_->state.config, config::flatten(config))) {
    return std::nullopt;
  }
  const RunState& stored = resume_->state;
  if (!agree_on_exports(communicator, config, paths, stored).missing.empty()) {
    return std::nullopt;
  }
  log::info("the run in {} is finished ({} updates) and exported: nothing to do", paths.root.string(), stored.step);
  return TrainResult{.outcome = Outcome::kFinished,
                     .step = stored.step,
                     .first_step = stored.step,
                     .loss = std::nullopt,
                     .first_validation_loss = stored.first_validation_loss,
                     .last_validation_loss = stored.last_validation_loss,
                     .best_validation_loss = stored.best.loss,
                     .exports = export_folders(config, paths),
                     .trainable_parameters = stored.trainable_parameters,
                     .state_bytes = 0};
}

void Preparation::load() {
  enter(Heartbeat::Phase::kStart, "choosing the arithmetic");
  const NumericChoice numerics =
      choose_numerics(communicator, config, placement, resume_ ? &resume_->state.fingerprint : nullptr);
  const Fingerprint process = process_fingerprint(config, numerics, placement, communicator.size());
  introductions = introduce_ranks(communicator, config, placement, process);
  enter(Heartbeat::Phase::kStart, "joining the devices");
  device_communicator = join_devices(communicator, placement);
  if (device_communicator && heartbeat_ != nullptr) {
    device_communicator = comm::watched(std::move(device_communicator), *heartbeat_);
  }
  if (config.data.kind == "images") {
    load_images(numerics);
  } else {
    load_text(numerics);
  }
  enter(Heartbeat::Phase::kStart, "comparing the ranks' files");
  set_state(full_fingerprint(process));
  leave_if_asked();
  enter(Heartbeat::Phase::kStart, "building the adapters");
  build_trial(numerics.dtype);
  open_metrics();
  faults.reach("loaded", state.step);
}

Fingerprint Preparation::full_fingerprint(Fingerprint fingerprint) {
  agree(communicator, [&] {
    fingerprint["model"] =
        config.data.kind == "images"
            ? part_fingerprint(model_folder / model::denoiser_part(model_folder), "diffusion_pytorch_model") +
                  (config.model.trains_text() ? text_encoder_fingerprints(model_folder) : "")
            : model_fingerprint(model_folder);
  });
  fingerprint.merge(task->fingerprints());
  for (const char* name : {"model", "data.train", "data.validation"}) {
    require_equal(communicator, name, fingerprint.at(name), "give all machines the same files");
  }
  if (check_inputs_) {
    agree(communicator, [&] {
      if (communicator.rank() == 0) {
        check_inputs_(fingerprint);
      }
    });
  }
  return fingerprint;
}

void Preparation::set_state(Fingerprint fingerprint) {
  std::optional<RunLength> stored;
  if (resume_) {
    state = resume_->state;
    stored = RunLength{.total = state.total_steps, .schedule_total = state.schedule_total};
    const std::vector<std::string> inexact =
        require_resumable(state.config, config::flatten(config), state.fingerprint, fingerprint);
    if (!inexact.empty()) {
      state.inexact_since.push_back(fmt::format("step {}: {}", state.step, fmt::join(inexact, "; ")));
      log::warn("not bit-identical from step {} on: {}", state.step, fmt::join(inexact, "; "));
    }
  }
  state.config = config::flatten(config);
  state.fingerprint = std::move(fingerprint);
  state.total_steps = total_steps(config.run, task->samples(), config.batch.global);
  state.schedule_total = schedule_total(config.schedule, state.total_steps, stored);
  state.finished = state.finished && (!stored || stored->total == state.total_steps);
}

parallel::Links Preparation::links() const {
  return device_communicator ? parallel::Links(communicator, *device_communicator, placement.device)
                             : parallel::Links(communicator, communicator, placement.device);
}

void Preparation::close() {
  if (device_communicator) {
    device_communicator->finalize();
  }
}

void Preparation::require_training_memory(DType dtype) const {
  const TextTask* text = task->text();
  if (!placement.gpu || text == nullptr) {
    return;
  }
  const std::int64_t flat = adapter::AdapterSet::flat_elements(config.adapter, task->layers(), task->added_tokens());
  const parallel::ReductionPlan plan = parallel::plan_reduction(
      reduction_request(config, chosen_reduction(config, placement.gpu.has_value()), flat, communicator.size()));
  placement.require_memory(training_memory({.flat_elements = flat,
                                            .gradient_bytes = parallel::buffer_bytes(plan, communicator.rank()).total(),
                                            .state_elements = plan.gradient_of(communicator.rank()).count(),
                                            .rows = config.batch.micro * config.data.sequence_length,
                                            .hidden = text->model().facts().hidden,
                                            .blocks = text->model().facts().blocks,
                                            .recompute = config.run.recompute,
                                            .dtype = dtype},
                                           task->layers()));
}

void Preparation::build_trial(DType dtype) {
  const optim::ScheduleHorizon horizon{.total = state.schedule_total,
                                       .warmup = config.schedule.warmup.steps_of(state.schedule_total)};
  agree(communicator, [&] {
    require_training_memory(dtype);
    // Decomposing weights takes long, and rank 0's bits are everybody's.
    const bool decomposes = !resume_ && communicator.rank() == 0;
    trial = std::make_unique<Trial>(config, *task, horizon, links(),
                                    decomposes ? adapter::StartOrigin::kWeight : adapter::StartOrigin::kGiven);
    if (communicator.rank() == 0) {  // it copies parameters to look at them, and one answer serves all
      require_exports(config, *trial, task->base_facts());
    }
    if (config.adapter.init_from && !resume_) {
      interop::load_adapter_into(trial->adapters(), *config.adapter.init_from);
    }
  });
  if (resume_) {
    restore(communicator, *resume_, *trial);
    log::info("going on from {} ({} of {} updates done)", resume_->folder.string(), state.step, state.total_steps);
  } else {
    share_start(communicator, *trial);
    if (adapter::takes_from_data(adapter::start_named(config.adapter.start))) {
      start_from_inputs(
          communicator,
          {task->text()->model(), task->text()->training(), task->text()->order(), config.adapter.start_samples},
          trial->adapters());
    }
  }
}

// What follows may take longer than a scheduler waits.
void Preparation::leave_if_asked() {
  if (on_any_rank(communicator, stop_requested())) {
    fail_together(Fault::kRequeue, "asked to stop while starting; nothing was changed, start the same command again");
  }
}

void Preparation::load_text(const NumericChoice& numerics) {
  enter(Heartbeat::Phase::kStart, "loading the model");
  SharedBases::Model model = load_language_model(numerics);
  faults.reach("opening", state.step);
  leave_if_asked();
  enter(Heartbeat::Phase::kStart, "opening the data");
  open_tokens(std::move(model));
}

// What of a run is kept is the same on all its ranks, so either all load or none does.
SharedBases::Model Preparation::load_language_model(const NumericChoice& numerics) {
  agree(communicator, [&] { model_folder = model::resolve_model_folder(config.model.path); });
  const auto load = [&]() -> SharedBases::Model {
    // Weights alone: names, tokenizer and what exports say of the base come from where it lies.
    const std::filesystem::path weights =
        stage_model(communicator, model_folder, config.model.stage, [this] { progress(); });
    SharedBases::Model model;
    agree(communicator, [&] {
      if (placement.gpu) {
        placement.require_memory({{{"frozen base", weight_bytes(weights, numerics.dtype)}}});
      }
      model = model::load_language_model(weights, {.dtype = numerics.dtype, .device = placement.device});
    });
    return model;
  };
  SharedBases::Model model =
      bases_ == nullptr ? load()
                        : bases_->model(fmt::format("{}\n{}\n{}\n{}", model_folder.string(), config.model.stage,
                                                    name_of(numerics.dtype), placement.device),
                                        load);
  agree(communicator, [&] {
    require(config.data.sequence_length <= model->facts().maximum_positions, Fault::kUsage,
            "data.sequence_length is {}, but the model in {} was made for at most {} positions",
            config.data.sequence_length, model_folder.string(), model->facts().maximum_positions);
  });
  return model;
}

SharedBases::Tokens Preparation::open_dataset(const std::filesystem::path& file, const data::TokenDatasetUse& use) {
  const auto load = [&]() -> SharedBases::Tokens { return std::make_shared<data::TokenDataset>(file, use); };
  return bases_ == nullptr ? load()
                           : bases_->tokens(fmt::format("{}\n{}\n{}\n{}\n{}\n{}", file.string(), model_folder.string(),
                                                        use.model_vocabulary, use.sequence_length, config.data.packing,
                                                        config.data.too_long),
                                            load);
}

void Preparation::open_tokens(SharedBases::Model model) {
  agree(communicator, [&] {
    const data::TokenDatasetUse use = data_use(config, *model, model_folder);
    if (!use.tokenizer_sha256) {
      log::warn("{} has no tokenizer.json: whether the data was made with the model's tokenizer cannot be checked",
                model_folder.string());
    }
    TextTask::Parts parts{.model = std::move(model),
                          .folder = model_folder,
                          .seed = RandomKey{static_cast<std::uint64_t>(config.run.seed)},
                          .shuffle = config.data.shuffle};
    parts.added_tokens = added_tokens(config.model, *parts.model, model_folder);
    parts.training = open_dataset(config.data.train, use);
    if (!config.data.validation.empty()) {
      parts.validation = open_dataset(config.data.validation, use);
    }
    task = std::make_unique<TextTask>(std::move(parts));
  });
  const TextTask& text = *task->text();
  log::info("training on {}", text.training().summary());
  if (text.validation() != nullptr) {
    log::info("validating on {}", text.validation()->summary());
  }
}

SharedBases::Images Preparation::load_image_model(const NumericChoice& numerics, bool encodes_texts, bool shows) {
  const auto load = [&]() -> SharedBases::Images {
    return std::make_shared<model::ImageModel>(
        model_folder, model::ImageModelRequest{.train = config.model.train,
                                               .placement = {numerics.dtype, placement.device},
                                               .autoencoder_dtype = dtype_from_name(config.model.vae_dtype).value(),
                                               .text_encoders = encodes_texts,
                                               .autoencoder = shows});
  };
  return bases_ == nullptr ? load()
                           : bases_->images(fmt::format("{}\n{}\n{}\n{}\n{}\n{}\n{}", model_folder.string(),
                                                        fmt::join(config.model.train, ","), name_of(numerics.dtype),
                                                        placement.device, config.model.vae_dtype, encodes_texts, shows),
                                            load);
}

void Preparation::load_images(const NumericChoice& numerics) {
  enter(Heartbeat::Phase::kStart, "reading the images");
  PreparedImages images = read_images(communicator, config, numerics);
  model_folder = images.folder;
  log::info("training on {}", images.plan->summary());
  faults.reach("encoding", state.step);
  encode_images(communicator, images, placement, [this] { progress(); });
  faults.reach("opening", state.step);
  leave_if_asked();
  enter(Heartbeat::Phase::kStart, "loading the model");
  agree(communicator, [&] {
    const bool shows = config.samples.wanted() && pictures_;
    std::vector<Picture> pictures;
    if (shows) {
      const model::ImageModel texts(
          model_folder,
          {.train = {}, .placement = {numerics.dtype, placement.device}, .denoiser = false, .autoencoder = false});
      pictures =
          prepare_pictures(prompt_lines(config.samples), config.samples, texts, images.tokenizers, images.encoded.text);
    }
    SharedBases::Images model = load_image_model(numerics, images.plan->encodes_texts(), shows);
    objective::DenoiseSettings settings = settled_objective(config, images, *model);
    task = std::make_unique<ImageTask>(ImageTask::Parts{.model = std::move(model),
                                                        .folder = model_folder,
                                                        .plan = std::move(*images.plan),
                                                        .settings = std::move(settings),
                                                        .encoded = std::move(images.encoded),
                                                        .store = std::move(images.store),
                                                        .tokenizers = std::move(images.tokenizers),
                                                        .trains_text = config.model.trains_text(),
                                                        .pictures = std::move(pictures)});
  });
}

// The line of a step whose validation is still to come is written again, with it.
void Preparation::open_metrics() {
  agree(communicator, [&] {
    if (communicator.rank() == 0) {
      if (!bare_) {
        write_file_atomically(paths.config(), std::string_view(config::dump(config)));
      }
      const std::int64_t last = !resumed ? -1 : state.validation_pending ? state.step - 1 : state.step;
      metrics = std::make_unique<report::MetricsWriter>(paths.metrics(), last);
      const auto arrays = static_cast<std::int64_t>(1 + trial->optimizer().state().size());
      // While one is written, those that it supersedes are still there.
      warn_of_little_space(paths, arrays * trial->parameter_count() * static_cast<std::int64_t>(sizeof(float)),
                           config.checkpoint.keep.last + config.checkpoint.keep.best + 1);
      if (!bare_) {
        events = std::make_unique<report::EventWriter>(paths.tensorboard(), report::read_metrics(paths.metrics()));
      }
    }
  });
}

}  // namespace dormer::train
