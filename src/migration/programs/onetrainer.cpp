// OneTrainer's JSON (its window's "save", or train_config beside a backup), of its versions 0 to 12. Keys and defaults:
// modules/util/config/TrainConfig.py and ConceptConfig.py of Nerogar/OneTrainer.
#include <algorithm>
#include <string>
#include <tuple>
#include <utility>

#include "dormer/core/error.hpp"
#include "dormer/migration/import.hpp"
#include "migration/onetrainer_images.hpp"
#include "migration/text_encoders.hpp"
#include "migration/translation.hpp"

namespace dormer::migration::programs {
namespace {

void translate_model(Translation& t) {
  const std::string method = t.text("training_method").value_or("LORA");
  if (method != "LORA" && method != "FINE_TUNE") {
    t.tell(fmt::format("training_method: {}: {}", method, kNotHere));
  }
  const std::string type = t.text("model_type").value_or("STABLE_DIFFUSION_15");
  if (is_onetrainers_flow(type)) {
    t.tell(fmt::format(
        "model_type: {}: T5 is not read; its states are zeros here, or those of a file that text.embeddings names",
        type));
  } else if (!type.starts_with("STABLE_DIFFUSION_1") && !type.starts_with("STABLE_DIFFUSION_2") &&
             type != "STABLE_DIFFUSION_XL_10_BASE") {
    t.tell(fmt::format("model_type: {}: only Stable Diffusion 1, 2, XL, 3 and 3.5 are trained by this version", type));
  }
  t.copy("base_model_name", "model.path");
  if (const std::optional<std::string> path = t.text("base_model_name"); path && path->ends_with(".safetensors")) {
    t.tell("base_model_name: " + *path +
           ": name a folder with CLIP's vocabulary in text.tokenizer, which the file has not");
  } else if (path && path->ends_with(".ckpt")) {
    t.tell("base_model_name: " + *path + ": convert it to .safetensors; pickled files are not read");
  }
  t.choose("train_dtype", "model.dtype",
           {{"FLOAT_32", "float32"}, {"TFLOAT_32", "float32"}, {"BFLOAT_16", "bfloat16"}, {"FLOAT_16", "float16"}});
  t.lacks("vae.model_name", "the autoencoder is that of model.path");
  set_onetrainers_parts(t, type, method == "LORA");
  if (const double skip = t.number("text_encoder_layer_skip").value_or(0.0); skip > 0) {
    t.set("text.clip_skip", skip);
  }
  t.lacks("text_encoder_2_layer_skip", "text.clip_skip counts for all text encoders");
}

void translate_adapter(Translation& t) {
  const bool fine = t.text("training_method").value_or("LORA") == "FINE_TUNE";
  const std::string type = fine ? "FULL" : t.text("peft_type").value_or("LORA");
  const std::string preset = t.text("layer_filter_preset").value_or("full");
  const std::string filter = t.text("layer_filter").value_or("");
  const bool convolutions = preset == "full" && filter.empty();
  const bool lokr = type == "LOKR";
  if (type == "OFT_2") {
    t.tell(fmt::format("peft_type: {}: {}", type, kNotHere));
  }
  t.set("adapter.kind", fine ? "full" : lokr ? "lokr" : type == "LOHA" ? "loha" : convolutions ? "locon" : "lora");
  if (!fine) {
    t.set("adapter.rank", t.number(lokr ? "lokr_dim" : "lora_rank").value_or(16.0));
    t.set("adapter.alpha", t.number("lora_alpha").value_or(1.0), "OneTrainer's scale is alpha / rank, too");
    t.set("adapter.profile", "onetrainer");
  }
  if (lokr) {
    t.copy("lokr_decompose_factor", "adapter.factor");
    t.copy("lokr_decompose_both", "adapter.decompose_both");
    t.copy("lokr_full_matrix", "adapter.full_matrix");
    t.copy("lokr_use_tucker", "adapter.tucker");
  }
  const bool decomposed = !fine && t.truth(lokr ? "lokr_weight_decompose" : "lora_decompose");
  const bool output = t.truth(lokr ? "lokr_dora_on_output" : "lora_decompose_output_axis", lokr);
  if (decomposed) {
    t.set("adapter.decompose.axis", output ? "output" : "input");
    if (!t.truth("lora_decompose_norm_epsilon", true)) {  // the profile's is OneTrainer's default
      t.set("adapter.profile", nullptr);
      t.set("adapter.decompose.epsilon", 0);
      t.set("adapter.dropout_placement", "whole");
    }
  }
  if (const double dropout = t.number("dropout_probability").value_or(0.0); dropout > 0 && !fine) {
    t.set("adapter.dropout", dropout);
  }
  Json targets = Json::array();
  if (preset == "attn-mlp") {
    targets.push_back("attention-mlp");
  } else if (preset == "attn-only") {
    targets.push_back("attention");
  } else if (convolutions || preset == "full") {
    targets.push_back("full");
  } else {
    for (const std::string& name : comma_parts(filter)) {
      targets.push_back("*" + name + "*");
    }
    if (t.truth("layer_filter_regex")) {
      t.tell("layer_filter_regex: true: adapter.targets takes patterns with * and ?, no regular expressions");
    }
  }
  t.set("adapter.targets", targets);
  if (const std::optional<std::string> from = t.text("lora_model_name"); from && !from->empty()) {
    t.tell("lora_model_name: " + *from + ": convert it to a folder of PEFT and write adapter.init_from");
  }
  if (t.text("lora_weight_dtype").value_or("FLOAT_32") != "FLOAT_32") {
    t.tell("lora_weight_dtype: what trains is float32 here, always");
  }
  t.ignore({"layer_filter_regex",
            "lora_alpha",
            "lora_rank",
            "lora_decompose",
            "lora_decompose_norm_epsilon",
            "lora_decompose_output_axis",
            "dropout_probability",
            "bundle_additional_embeddings",
            "lokr_dim",
            "lokr_decompose_factor",
            "lokr_decompose_both",
            "lokr_full_matrix",
            "lokr_use_tucker",
            "lokr_weight_decompose",
            "lokr_dora_on_output",
            "lokr_vec_trick",
            "oft_block_size",
            "oft_block_share",
            "dora_oft",
            "oft_scaled",
            "oft_clipped_norm",
            "oft_cans",
            "peft_type"});
}

void translate_loss(Translation& t) {
  t.set("objective.kind", "denoise");
  for (const auto& [theirs, ours] : {std::pair{"mse_strength", "mse"},
                                     {"mae_strength", "mae"},
                                     {"log_cosh_strength", "log_cosh"},
                                     {"huber_strength", "huber"},
                                     {"huber_delta", "huber_delta"}}) {
    const double plain = std::string(ours) == "mse" || std::string(ours) == "huber_delta" ? 1.0 : 0.0;
    if (const double value = t.number(theirs).value_or(plain); value != plain) {
      t.set(std::string("objective.loss.") + ours, value);
    }
  }
  t.choose("loss_weight_fn", "objective.weighting.kind",
           {{"CONSTANT", "constant"}, {"MIN_SNR_GAMMA", "min_snr"}, {"DEBIASED_ESTIMATION", "debiased"}, {"P2", "p2"}});
  if (t.text("loss_weight_fn").value_or("CONSTANT") != "CONSTANT") {
    t.set("objective.weighting.gamma", t.number("loss_weight_strength").value_or(5.0));
  }
  t.choose(
      "timestep_distribution", "objective.timesteps.distribution",
      {{"UNIFORM", "uniform"}, {"LOGIT_NORMAL", "logit_normal"}, {"HEAVY_TAIL", "heavy_tail"}, {"COS_MAP", "cos_map"}});
  const std::string distribution = t.text("timestep_distribution").value_or("UNIFORM");
  if (distribution == "LOGIT_NORMAL") {
    t.set("objective.timesteps.mean", t.number("noising_bias").value_or(0.0));
    t.set("objective.timesteps.deviation", t.number("noising_weight").value_or(0.0) + 1.0);
  } else if (distribution == "HEAVY_TAIL") {
    t.set("objective.timesteps.tail", t.number("noising_weight").value_or(0.0));
  }
  for (const auto& [theirs, ours, plain] : {std::tuple{"min_noising_strength", "objective.timesteps.minimum", 0.0},
                                            {"max_noising_strength", "objective.timesteps.maximum", 1.0},
                                            {"timestep_shift", "objective.timesteps.shift", 1.0},
                                            {"offset_noise_weight", "objective.offset_noise", 0.0},
                                            {"perturbation_noise_weight", "objective.input_perturbation", 0.0}}) {
    if (const double value = t.number(theirs).value_or(plain); value != plain) {
      t.set(ours, value);
    }
  }
  if (t.truth("rescale_noise_scheduler_to_zero_terminal_snr")) {
    t.set("objective.zero_terminal_snr", true);
  }
  if (t.truth("force_v_prediction")) {
    t.set("objective.prediction", "v_prediction");
  } else if (t.truth("force_epsilon_prediction")) {
    t.set("objective.prediction", "epsilon");
  }
  t.lacks("generalized_offset_noise", kNotHere);
  t.ignore({"noising_weight", "noising_bias", "loss_weight_strength", "vb_loss_strength", "dynamic_timestep_shifting",
            "cep_gamma", "force_epsilon_prediction"});
}

void translate_optimizer(Translation& t) {
  t.choose("optimizer.optimizer", "optimizer.kind",
           {{"ADAMW", "adamw"},
            {"ADAMW_ADV", "adamw"},
            {"ADAM", "adamw"},
            {"ADAMW_8BIT", "adamw_8bit"},
            {"LION", "lion"},
            {"ADAFACTOR", "adafactor"},
            {"CAME", "came"},
            {"PRODIGY", "prodigy"},
            {"SCHEDULE_FREE_ADAMW", "schedule_free_adamw"}});
  const std::string kind = t.text("optimizer.optimizer").value_or("ADAMW");
  const double batch = t.number("batch_size").value_or(1.0);
  const double accumulation = t.number("gradient_accumulation_steps").value_or(1.0);
  const std::optional<std::string> devices = t.text("device_indexes");
  double gpus = 1.0;
  if (t.truth("multi_gpu") && devices && !devices->empty()) {
    gpus = 1.0 + static_cast<double>(std::ranges::count(*devices, ','));
  } else if (t.truth("multi_gpu")) {
    t.tell("multi_gpu: true: batch.global is that of one GPU; multiply it with the number of GPUs that you had");
  }
  t.set("batch.global", batch * accumulation * gpus, "batch size x accumulation x GPUs");
  t.set("batch.micro", batch);
  const double common = t.number("learning_rate").value_or(3e-6);
  const bool flow = is_onetrainers_flow(t.text("model_type").value_or(""));
  const double own = t.number(flow ? "transformer.learning_rate" : "unet.learning_rate").value_or(0.0);
  const double rate = own > 0.0 ? own : common;
  const std::string scaler = t.text("learning_rate_scaler").value_or("NONE");
  const double factor = scaler == "BATCH"                   ? batch
                        : scaler == "GLOBAL_BATCH"          ? batch * gpus
                        : scaler == "GRADIENT_ACCUMULATION" ? accumulation
                        : scaler == "BOTH"                  ? batch * accumulation
                        : scaler == "GLOBAL_BOTH"           ? batch * accumulation * gpus
                                                            : 1.0;
  t.set("optimizer.learning_rate", rate * factor, factor == 1.0 ? "" : "scaled as learning_rate_scaler says");
  set_onetrainers_text_rates(t, common, rate, factor);
  const auto beta = [&](const char* path, double otherwise) { return t.number(path).value_or(otherwise); };
  if (t.has("optimizer.beta1") && kind != "ADAFACTOR") {
    t.set("optimizer.betas",
          Json::array({beta("optimizer.beta1", 0.9), beta("optimizer.beta2", kind == "LION" ? 0.99 : 0.999)}));
  }
  if (const std::optional<double> epsilon = t.number("optimizer.eps"); epsilon && *epsilon > 0.0) {
    t.set("optimizer.epsilon", *epsilon);
  }
  t.set("optimizer.weight_decay", t.number("optimizer.weight_decay").value_or(kind.starts_with("ADAMW") ? 0.01 : 0.0));
  t.set("optimizer.max_gradient_norm", t.number("clip_grad_norm").value_or(1.0));
  if (kind == "PRODIGY") {
    t.copy("optimizer.d0", "optimizer.prodigy.initial_distance");
    t.copy("optimizer.d_coef", "optimizer.prodigy.coefficient");
    t.copy("optimizer.use_bias_correction", "optimizer.prodigy.bias_correction");
    t.copy("optimizer.safeguard_warmup", "optimizer.prodigy.safeguard_warmup");
    if (const std::optional<double> growth = t.number("optimizer.growth_rate"); growth && *growth >= 1.0) {
      t.set("optimizer.prodigy.growth_rate", *growth);
    }
  } else if (kind == "ADAFACTOR") {
    t.copy("optimizer.relative_step", "optimizer.adafactor.relative_step");
    t.copy("optimizer.scale_parameter", "optimizer.adafactor.scale_parameter");
    t.copy("optimizer.clip_threshold", "optimizer.adafactor.clip_threshold");
    if (const std::optional<double> decay = t.number("optimizer.decay_rate")) {
      t.set("optimizer.adafactor.decay_exponent", *decay < 0.0 ? -*decay : *decay);
    }
  }
  t.ignore({"optimizer", "optimizer_defaults", "learning_rate_scaler", "device_indexes"});
  t.choose("learning_rate_scheduler", "schedule.kind",
           {{"CONSTANT", "constant"},
            {"LINEAR", "linear"},
            {"COSINE", "cosine"},
            {"COSINE_WITH_RESTARTS", "cosine_restarts"},
            {"COSINE_WITH_HARD_RESTARTS", "cosine_restarts"},
            {"REX", "rex"}});
  if (!t.has("learning_rate_scheduler")) {
    t.set("schedule.kind", "constant");
  }
  const double warmup = t.number("learning_rate_warmup_steps").value_or(200.0);
  if (warmup > 0.0 && warmup <= 1.0) {
    t.set("schedule.warmup", fmt::format("{}%", 100.0 * warmup));
  } else if (warmup > 1.0) {
    t.set("schedule.warmup", warmup);
  }
  if (const double cycles = t.number("learning_rate_cycles").value_or(1.0); cycles != 1.0) {
    t.set("schedule.cycles", cycles);
  }
  if (const double least = t.number("learning_rate_min_factor").value_or(0.0); least > 0.0) {
    t.set("schedule.minimum_factor", least);
  }
  t.lacks("custom_learning_rate_scheduler", kNotHere);
  t.lacks("scheduler_params", kNotHere);
  t.lacks("loss_scaler", "the loss is the mean over the global batch");
  if (t.text("ema").value_or("OFF") != "OFF") {  // where it lies, GPU or CPU, decides nothing
    t.set("optimizer.ema.decay", t.number("ema_decay").value_or(0.999));
    t.set("optimizer.ema.every", t.number("ema_update_step_interval").value_or(5.0));
  }
  t.ignore({"ema_decay", "ema_update_step_interval"});
}

/// One of OneTrainer's samples (modules/util/config/SampleConfig.py) as a prompt line in kohya's form.
std::string prompt_line(const Json& sample) {
  std::string line = sample.value("prompt", "");
  std::ranges::replace(line, '\n', ' ');
  if (const std::string negative = sample.value("negative_prompt", ""); !negative.empty()) {
    line += " --n " + negative;
  }
  for (const auto& [key, option] : {std::pair{"width", "--w"},
                                    {"height", "--h"},
                                    {"seed", "--d"},
                                    {"diffusion_steps", "--s"},
                                    {"cfg_scale", "--l"}}) {
    if (sample.contains(key) && sample.at(key).is_number()) {
      line += fmt::format(" {} {}", option, sample.at(key).dump());
    }
  }
  return line;
}

void translate_samples(Translation& t) {
  const Json every = cadence(t.number("sample_after").value_or(10.0), t.text("sample_after_unit").value_or("MINUTE"));
  const Json* own = t.take("samples");
  const std::string named = t.text("sample_definition_file_name").value_or("");
  Json list = own == nullptr ? Json::array() : *own;
  std::error_code ignored;
  if (own == nullptr && !named.empty() && std::filesystem::exists(t.beside(named), ignored)) {
    list = read_foreign_file(t.beside(named));
  }
  Json prompts = Json::array();
  std::string scheduler = "DDIM";
  for (const Json& sample : list) {
    if (sample.value("enabled", true)) {
      prompts.push_back(prompt_line(sample));
      scheduler = sample.value("noise_scheduler", scheduler);
    }
  }
  if (prompts.empty() || every.is_null()) {
    return;
  }
  t.set("samples.every", every);
  t.set("samples.prompts", prompts);
  t.set("samples.guidance", 7, "OneTrainer's default");
  t.set("samples.seed", 42);
  t.set("samples.sampler", scheduler == "EULER"     ? "euler"
                           : scheduler == "EULER_A" ? "euler_a"
                           : scheduler == "DPMPP"   ? "dpmpp_2m"
                                                    : "ddim");
  if (scheduler != "EULER" && scheduler != "EULER_A" && scheduler != "DPMPP" && scheduler != "DDIM") {
    t.tell("samples: noise_scheduler: " + scheduler + ": " + kNotHere);
  }
}

void translate_run(Translation& t) {
  t.set("run.directory", t.text("workspace_dir").value_or("runs/imported"));
  t.set("run.epochs", t.number("epochs").value_or(100.0));
  if (t.truth("validation")) {
    t.set("validation.every",
          cadence(t.number("validate_after").value_or(1.0), t.text("validate_after_unit").value_or("EPOCH")));
  } else {
    t.set("validation.every", nullptr);
  }
  const Json backup = cadence(t.number("backup_after").value_or(30.0), t.text("backup_after_unit").value_or("MINUTE"));
  t.set("checkpoint.every", backup);
  if (t.truth("rolling_backup")) {
    t.set("checkpoint.keep.last", t.number("rolling_backup_count").value_or(3.0));
  }
  Json exported = {{"for", "kohya"}};
  const std::string format = t.text("output_model_format").value_or("SAFETENSORS");
  exported["for"] = format == "COMFY_LORA" ? "comfyui" : format == "KOHYA_LORA" ? "kohya" : "onetrainer";
  const std::string dtype = t.text("output_dtype").value_or("FLOAT_32");
  exported["dtype"] = dtype == "BFLOAT_16" ? "bfloat16" : dtype == "FLOAT_16" ? "float16" : "float32";
  const Json every = cadence(t.number("save_every").value_or(0.0), t.text("save_every_unit").value_or("NEVER"));
  if (!every.is_null()) {
    exported["every"] = every;
  }
  if (const std::optional<std::string> target = t.text("output_model_destination"); target && !target->empty()) {
    exported["name"] = std::filesystem::path(*target).stem().string();
  }
  t.set("export", Json::array({exported}));
  t.lacks("only_cache", "dormer trains at once; what is cached stays for the next run");
  translate_samples(t);
  t.ignore({"__version", "debug_mode", "debug_dir", "tensorboard", "tensorboard_expose", "tensorboard_always_on",
            "tensorboard_port", "continue_last_backup", "prevent_overwrites", "include_train_config",
            "gradient_reduce_prevision", "gradient_reduce_precision"});
  t.ignore({"fused_gradient_reduce", "async_gradient_reduce", "async_gradient_reduce_buffer", "enable_async_offloading",
            "async_offloading", "enable_activation_offloading", "layer_offload_fraction", "gradient_checkpointing",
            "compile", "image_caching", "text_caching", "latent_caching"});
  t.ignore({"clear_cache_before_training", "dataloader_threads", "caching_threads", "prefetch_next_batch",
            "train_device", "temp_device", "fallback_train_dtype", "enable_autocast_cache", "frames",
            "attention_mechanism", "quantization", "prior"});
  t.ignore({"transformer", "unconditional_transformer", "vae", "effnet_encoder", "decoder", "decoder_text_encoder",
            "decoder_vqgan", "unet", "embedding", "embeddings", "additional_embeddings", "embedding_learning_rate"});
  t.ignore({"preserve_embedding_norm", "embedding_weight_dtype", "sample_skip_first", "sample_image_format",
            "sample_video_format", "sample_audio_format", "samples_to_tensorboard", "non_ema_sampling", "cloud"});
  t.ignore({"backup_before_save", "rolling_backup_count", "save_skip_first", "save_filename_prefix", "secrets",
            "text_encoder_2_sequence_length", "validate_after", "validate_after_unit", "layer_filter",
            "layer_filter_preset"});
  t.lacks("force_circular_padding", kNotHere);
}

void translate_onetrainer(Translation& t) {
  translate_run(t);
  translate_model(t);
  translate_adapter(t);
  translate_onetrainer_images(t);
  translate_loss(t);
  translate_optimizer(t);
}

}  // namespace

Program onetrainer() {
  return {"OneTrainer", "the JSON that its window saves", translate_onetrainer};
}

}  // namespace dormer::migration::programs
