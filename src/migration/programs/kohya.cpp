// The TOML of kohya's sd-scripts (--config_file), with the data set's TOML that it names. Sections mean nothing there.
// Keys and defaults: library/train_util.py, library/config_util.py and train_network.py of kohya-ss/sd-scripts, and
// LyCORIS's network_args.
#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/migration/import.hpp"
#include "migration/kohya_images.hpp"
#include "migration/text_encoders.hpp"
#include "migration/translation.hpp"

namespace dormer::migration::programs {
namespace {

/// "key=value" entries of network_args and optimizer_args.
std::map<std::string, std::string> arguments_of(Translation& t, std::string_view path) {
  std::map<std::string, std::string> arguments;
  const Json* list = t.take(path);
  if (list != nullptr && list->is_array()) {
    for (const Json& item : *list) {
      const std::string text = item.is_string() ? item.get<std::string>() : item.dump();
      const std::size_t equals = text.find('=');
      arguments[text.substr(0, equals)] = equals == std::string::npos ? "True" : text.substr(equals + 1);
    }
  }
  return arguments;
}

std::optional<std::string> taken(std::map<std::string, std::string>& arguments, const std::string& name) {
  const auto node = arguments.extract(name);
  return node.empty() ? std::nullopt : std::optional(node.mapped());
}

bool is_true(const std::optional<std::string>& text) {
  return text && (*text == "True" || *text == "true" || *text == "1");
}

void set_number(Translation& t, const std::optional<std::string>& text, std::string_view key) {
  if (text && *text != "None") {
    t.set(key, number_of(*text));
  }
}

void translate_network(Translation& t) {
  const std::string module = t.text("network_module").value_or("networks.lora");
  const bool lycoris = module.starts_with("lycoris");
  std::map<std::string, std::string> arguments = arguments_of(t, "network_args");
  const std::string algorithm = taken(arguments, "algo").value_or("lora");
  const std::optional<std::string> conv_rank = taken(arguments, "conv_dim");
  if (!lycoris && module != "networks.lora") {
    t.tell(fmt::format("network_module: {}: {}", module, kNotHere));
  }
  const bool plain = algorithm == "lora" || algorithm == "locon";
  if (!plain && algorithm != "loha" && algorithm != "lokr" && algorithm != "full") {
    t.tell(fmt::format("network_args: algo={}: {}", algorithm, kNotHere));
  }
  t.set("adapter.kind", plain ? (conv_rank || lycoris ? "locon" : "lora") : algorithm);
  t.set("adapter.rank", t.number("network_dim").value_or(4.0));
  t.set("adapter.alpha", t.number("network_alpha").value_or(1.0));
  if (lycoris) {
    t.set("adapter.profile", "lycoris");
  }
  set_number(t, conv_rank, "adapter.conv_rank");
  set_number(t, taken(arguments, "conv_alpha"), "adapter.conv_alpha");
  set_number(t, taken(arguments, "factor"), "adapter.factor");
  for (const auto& [theirs, ours] : {std::pair{"use_tucker", "adapter.tucker"},
                                     {"use_cp", "adapter.tucker"},
                                     {"decompose_both", "adapter.decompose_both"},
                                     {"full_matrix", "adapter.full_matrix"},
                                     {"rs_lora", "adapter.rank_stabilized"},
                                     {"rank_dropout_scale", "adapter.rank_dropout_scale"}}) {
    if (is_true(taken(arguments, theirs))) {
      t.set(ours, true);
    }
  }
  set_number(t, taken(arguments, "rank_dropout"), "adapter.rank_dropout");
  set_number(t, taken(arguments, "module_dropout"), "adapter.module_dropout");
  if (const std::optional<std::string> ratio = taken(arguments, "loraplus_lr_ratio")) {
    set_number(t, ratio, "optimizer.loraplus_ratio");
  }
  const std::optional<std::string> output = taken(arguments, "wd_on_output");
  if (is_true(taken(arguments, "dora_wd"))) {
    t.set("adapter.decompose.axis", !output || is_true(output) ? "output" : "input");
  }
  if (const double dropout = t.number("network_dropout").value_or(0.0); dropout > 0.0) {
    t.set("adapter.dropout", dropout);
  }
  const std::string preset = taken(arguments, "preset").value_or(lycoris ? "full" : "attn-mlp");
  t.set("adapter.targets", Json::array({preset == "attn-only"           ? "attention"
                                        : preset == "full" || conv_rank ? "full"
                                                                        : "attention-mlp"}));
  for (const auto& [name, value] : arguments) {
    t.tell(fmt::format("network_args: {}={}: {}", name, value, kNotHere));
  }
  if (const std::optional<std::string> from = t.text("network_weights"); from && !from->empty()) {
    t.tell("network_weights: " + *from + ": convert it to a folder of PEFT and write adapter.init_from");
  }
  set_kohyas_text_encoders(t);
  t.lacks("scale_weight_norms", kNotHere);
  t.ignore({"dim_from_weights", "base_weights", "base_weights_multiplier"});
}

void translate_optimizer(Translation& t) {
  std::string kind = t.text("optimizer_type").value_or(t.truth("use_8bit_adam") ? "adamw8bit" : "AdamW");
  std::ranges::transform(kind, kind.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  const std::map<std::string, const char*> kinds{{"adamw", "adamw"},
                                                 {"adamw8bit", "adamw_8bit"},
                                                 {"pagedadamw8bit", "adamw_8bit"},
                                                 {"lion", "lion"},
                                                 {"adafactor", "adafactor"},
                                                 {"prodigy", "prodigy"},
                                                 {"came", "came"},
                                                 {"adamwschedulefree", "schedule_free_adamw"}};
  const auto found = kinds.find(kind);
  if (found == kinds.end()) {
    t.tell(fmt::format("optimizer_type: {}: has no counterpart; optimizer.kind keeps its default", kind));
  }
  t.set("optimizer.kind", found == kinds.end() ? "adamw" : found->second);
  double rate = t.number("learning_rate").value_or(2e-6);
  if (const std::optional<double> own = t.number("unet_lr"); own && *own > 0.0) {
    rate = *own;
  }
  t.set("optimizer.learning_rate", rate);
  std::map<std::string, std::string> arguments = arguments_of(t, "optimizer_args");
  t.set("optimizer.weight_decay",
        number_of(taken(arguments, "weight_decay").value_or(kind.starts_with("adamw") ? "0.01" : "0")));
  if (std::optional<std::string> betas = taken(arguments, "betas")) {
    std::erase_if(*betas, [](char c) { return c == '(' || c == ')' || c == '[' || c == ']' || c == ' '; });
    const std::size_t comma = betas->find(',');
    t.set("optimizer.betas", Json::array({number_of(betas->substr(0, comma)),
                                          number_of(betas->substr(std::min(comma, betas->size() - 1) + 1))}));
  }
  set_number(t, taken(arguments, "eps"), "optimizer.epsilon");
  set_number(t, taken(arguments, "d_coef"), "optimizer.prodigy.coefficient");
  set_number(t, taken(arguments, "d0"), "optimizer.prodigy.initial_distance");
  for (const auto& [theirs, ours] : {std::pair{"use_bias_correction", "optimizer.prodigy.bias_correction"},
                                     {"safeguard_warmup", "optimizer.prodigy.safeguard_warmup"},
                                     {"relative_step", "optimizer.adafactor.relative_step"},
                                     {"scale_parameter", "optimizer.adafactor.scale_parameter"}}) {
    if (const std::optional<std::string> value = taken(arguments, theirs)) {
      t.set(ours, is_true(value));
    }
  }
  arguments.erase("decouple");
  arguments.erase("warmup_init");
  for (const auto& [name, value] : arguments) {
    t.tell(fmt::format("optimizer_args: {}={}: {}", name, value, kNotHere));
  }
  t.set("optimizer.max_gradient_norm", t.number("max_grad_norm").value_or(1.0));
  t.choose("lr_scheduler", "schedule.kind",
           {{"constant", "constant"},
            {"constant_with_warmup", "constant"},
            {"linear", "linear"},
            {"cosine", "cosine"},
            {"cosine_with_restarts", "cosine_restarts"},
            {"polynomial", "polynomial"},
            {"inverse_sqrt", "inverse_sqrt"},
            {"cosine_with_min_lr", "cosine"},
            {"adafactor", "constant"}});
  if (!t.has("lr_scheduler")) {
    t.set("schedule.kind", "constant");
  }
  const double warmup = t.number("lr_warmup_steps").value_or(0.0);
  if (warmup > 0.0) {
    t.set("schedule.warmup", warmup < 1.0 ? Json(fmt::format("{}%", 100.0 * warmup)) : Json(warmup));
  }
  if (const double cycles = t.number("lr_scheduler_num_cycles").value_or(1.0); cycles > 1.0) {
    t.set("schedule.cycles", cycles);
  }
  if (const double power = t.number("lr_scheduler_power").value_or(1.0); power != 1.0) {
    t.set("schedule.power", power);
  }
  if (const double least = t.number("lr_scheduler_min_lr_ratio").value_or(0.0); least > 0.0) {
    t.set("schedule.minimum_factor", least);
  }
  t.lacks("lr_scheduler_type", kNotHere);
  t.lacks("lr_scheduler_args", kNotHere);
  t.lacks("lr_decay_steps", kNotHere);
  t.ignore({"use_8bit_adam", "fused_backward_pass", "unet_lr"});
}

void translate_loss(Translation& t) {
  t.set("objective.kind", "denoise");
  if (t.truth("v_parameterization")) {
    t.set("objective.prediction", "v_prediction");
  }
  if (const std::optional<double> gamma = t.number("min_snr_gamma"); gamma && *gamma > 0.0) {
    t.set("objective.weighting.kind", "min_snr");
    t.set("objective.weighting.gamma", *gamma);
  } else if (t.truth("debiased_estimation_loss")) {
    t.set("objective.weighting.kind", "debiased");
  }
  if (const std::optional<double> offset = t.number("noise_offset"); offset && *offset > 0.0) {
    t.set("objective.offset_noise", *offset);
  }
  if (const std::optional<double> gamma = t.number("ip_noise_gamma"); gamma && *gamma > 0.0) {
    t.set("objective.input_perturbation", *gamma);
  }
  if (t.truth("zero_terminal_snr")) {
    t.set("objective.zero_terminal_snr", true);
  }
  const std::string loss = t.text("loss_type").value_or("l2");
  if (loss == "l1") {
    t.set("objective.loss.mse", 0);
    t.set("objective.loss.mae", 1);
  } else if (loss == "huber" || loss == "smooth_l1") {
    t.tell(fmt::format("loss_type: {}: kohya's is a pseudo-Huber loss; objective.loss.huber is Huber's own", loss));
    t.set("objective.loss.mse", 0);
    t.set("objective.loss.huber", 1);
    t.set("objective.loss.huber_delta", t.number("huber_c").value_or(0.1));
  }
  constexpr double kSteps = 1000.0;  // of the noise schedule of these models
  if (const std::optional<double> least = t.number("min_timestep"); least && *least > 0.0) {
    t.set("objective.timesteps.minimum", *least / kSteps);
  }
  if (const std::optional<double> most = t.number("max_timestep"); most && *most < kSteps) {
    t.set("objective.timesteps.maximum", *most / kSteps);
  }
  t.lacks("scale_v_pred_loss_like_noise_pred", kNotHere);
  t.lacks("v_pred_like_loss", kNotHere);
  t.lacks("multires_noise_iterations", kNotHere);
  t.lacks("adaptive_noise_scale", kNotHere);
  t.lacks("masked_loss", "write concepts[].masks");
  t.ignore({"huber_schedule", "huber_c", "huber_scale", "multires_noise_discount", "noise_offset_random_strength",
            "ip_noise_gamma_random_strength", "debiased_estimation_loss"});
}

/// Prompts stand in a file of their own, a line each, in the form that is read here, too.
void translate_samples(Translation& t) {
  const std::optional<std::string> named = t.text("sample_prompts");
  const double epochs = t.number("sample_every_n_epochs").value_or(0.0);  // which goes before the updates
  const double updates = t.number("sample_every_n_steps").value_or(0.0);
  const std::string sampler = t.text("sample_sampler").value_or("ddim");
  if (!named || named->empty() || (epochs <= 0.0 && updates <= 0.0)) {
    return;
  }
  const std::filesystem::path file = t.beside(*named);
  if (!file.string().ends_with(".txt")) {
    t.tell("sample_prompts: " + *named + ": prompts are read from a .txt; write samples.prompts");
    return;
  }
  Json prompts = Json::array();
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) {
    t.tell("sample_prompts: " + *named + ": there is no such file; write samples.prompts");
    return;
  }
  std::istringstream lines(read_file(file, "prompts"));
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty() && line[0] != '#') {
      prompts.push_back(line);
    }
  }
  t.set("samples.every", epochs > 0.0 ? cadence(epochs, "EPOCH") : cadence(updates, "STEP"));
  t.set("samples.prompts", prompts);
  t.set("samples.steps", 30, "kohya's default");
  const bool known = sampler == "ddim" || sampler == "euler" || sampler == "euler_a";
  t.set("samples.sampler", known                                      ? sampler
                           : sampler == "k_euler"                     ? "euler"
                           : sampler == "k_euler_a"                   ? "euler_a"
                           : sampler.find("dpm") != std::string::npos ? "dpmpp_2m"
                                                                      : "ddim");
  if (!known && sampler != "k_euler" && sampler != "k_euler_a" && sampler != "dpmsolver++") {
    t.tell("sample_sampler: " + sampler + ": " + kNotHere);
  }
}

void translate_run(Translation& t) {
  const std::string output = t.text("output_dir").value_or("runs");
  const std::string name = t.text("output_name").value_or("last");
  t.set("run.directory", (std::filesystem::path(output) / name).string());
  t.set("run.seed", t.number("seed").value_or(0.0));
  const std::optional<double> epochs = t.number("max_train_epochs");
  const double steps = t.number("max_train_steps").value_or(1600.0);
  epochs ? t.set("run.epochs", *epochs) : t.set("run.steps", steps);
  t.copy("pretrained_model_name_or_path", "model.path");
  if (const std::optional<std::string> path = t.text("pretrained_model_name_or_path");
      path && path->ends_with(".safetensors")) {
    t.tell("pretrained_model_name_or_path: " + *path +
           ": name a folder with CLIP's vocabulary in text.tokenizer, which the file has not");
  } else if (path && path->ends_with(".ckpt")) {
    t.tell("pretrained_model_name_or_path: " + *path + ": convert it to .safetensors; pickled files are not read");
  }
  t.lacks("vae", "the autoencoder is that of model.path");
  t.choose("mixed_precision", "model.dtype", {{"no", "float32"}, {"bf16", "bfloat16"}, {"fp16", "float16"}});
  if (t.truth("no_half_vae")) {
    t.set("model.vae_dtype", "float32");
  }
  if (const double skip = t.number("clip_skip").value_or(1.0); skip > 1.0) {
    t.set("text.clip_skip", skip - 1.0, "kohya counts from 1");
  }
  if (const std::optional<double> most = t.number("max_token_length")) {
    t.set("text.max_tokens", *most);
  }
  Json exported{{"for", "kohya"}, {"name", name}};
  const std::string precision = t.text("save_precision").value_or("float");
  exported["dtype"] = precision == "fp16" ? "float16" : precision == "bf16" ? "bfloat16" : "float32";
  if (const std::optional<double> every = t.number("save_every_n_epochs"); every && *every > 0.0) {
    exported["every"] = cadence(*every, "EPOCH");
  } else if (const std::optional<double> updates = t.number("save_every_n_steps"); updates && *updates > 0.0) {
    exported["every"] = cadence(*updates, "STEP");
  }
  t.set("export", Json::array({exported}));
  if (!t.truth("gradient_checkpointing")) {
    t.ignore({"gradient_checkpointing"});
  }
  translate_samples(t);
  t.ignore({"sample_at_first"});  // pictures are made then, always
  t.lacks("full_fp16", "what trains is float32 here, always");
  t.lacks("full_bf16", "what trains is float32 here, always");
  t.lacks("fp8_base", kNotHere);
  t.ignore({"v2",
            "save_every_n_steps",
            "save_every_n_epochs",
            "save_last_n_epochs",
            "save_last_n_steps",
            "save_model_as",
            "save_state",
            "save_state_on_train_end",
            "save_n_epoch_ratio",
            "save_last_n_epochs_state",
            "resume",
            "xformers",
            "sdpa",
            "mem_eff_attn",
            "torch_compile",
            "dynamo_backend",
            "lowram",
            "highvram",
            "logging_dir",
            "log_with",
            "log_prefix",
            "log_tracker_name",
            "wandb_api_key",
            "wandb_run_name",
            "max_train_steps",
            "ddp_timeout",
            "ddp_gradient_as_bucket_view",
            "ddp_static_graph",
            "tokenizer_cache_dir",
            "training_comment",
            "no_metadata",
            "metadata_title",
            "metadata_author",
            "metadata_description",
            "metadata_license",
            "metadata_tags",
            "console_log_level",
            "initial_epoch"});
}

// Sections are for the eye alone: their keys stand beside each other.
Json flat(const Json& file) {
  Json all = Json::object();
  for (const auto& [key, value] : file.items()) {
    if (!value.is_object()) {
      all[key] = value;
      continue;
    }
    for (const auto& [inner, item] : value.items()) {
      all[inner] = item;
    }
  }
  return all;
}

void translate_kohya(Translation& given) {
  given.replace(flat(given.all()));
  translate_run(given);
  translate_network(given);
  translate_kohya_images(given);
  translate_loss(given);
  translate_optimizer(given);
}

}  // namespace

Program kohya() {
  return {"kohya's sd-scripts", "the TOML of --config_file", translate_kohya};
}

}  // namespace dormer::migration::programs
