// Axolotl's YAML. Keys and defaults: its configuration reference.
#include <string>

#include "dormer/migration/import.hpp"
#include "migration/translation.hpp"

namespace dormer::migration::programs {
namespace {

void translate_adapter(Translation& t) {
  const std::string adapter = t.text("adapter").value_or("");
  if (adapter.empty()) {
    t.set("adapter.kind", "full", "no adapter is named: whole weights train");
  } else {
    t.set("adapter.kind", "lora");
    t.set("adapter.rank", t.number("lora_r").value_or(8.0));
    t.set("adapter.alpha", t.number("lora_alpha").value_or(16.0));
  }
  if (adapter == "qlora" || t.truth("load_in_4bit") || t.truth("load_in_8bit")) {
    t.tell("load_in_4bit, load_in_8bit: frozen weights are not quantized by this version");
  }
  if (const double dropout = t.number("lora_dropout").value_or(0.0); dropout > 0.0) {
    t.set("adapter.dropout", dropout);
  }
  if (t.truth("peft_use_dora")) {
    t.set("adapter.decompose.axis", "output", "PEFT's");
  }
  if (t.truth("peft_use_rslora")) {
    t.set("adapter.rank_stabilized", true);
  }
  if (t.truth("lora_target_linear")) {
    t.set("adapter.targets", Json::array({"all-linear"}));
  } else {
    t.copy("lora_target_modules", "adapter.targets");
  }
  if (const Json* layers = t.take("peft_layers_to_transform")) {
    std::string text;
    for (const Json& layer : *layers) {
      text += (text.empty() ? "" : ",") + layer.dump();
    }
    t.set("adapter.layers", text);
  }
  if (const Json* saved = t.take("lora_modules_to_save"); saved != nullptr && saved->is_array()) {
    Json overrides = Json::array();
    for (const Json& name : *saved) {
      overrides.push_back({{"match", name}, {"kind", "full"}});
    }
    t.set("adapter.overrides", overrides, "name them in adapter.targets, too");
  }
  if (const std::optional<std::string> from = t.text("lora_model_dir"); from && !from->empty()) {
    t.set("adapter.init_from", *from);
  }
  t.copy("loraplus_lr_ratio", "optimizer.loraplus_ratio");
  t.ignore(
      {"load_in_4bit", "load_in_8bit", "lora_fan_in_fan_out", "lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel"});
}

void translate_data(Translation& t) {
  t.set("data.train", "data/train.h5", "made by launch/prepare_text.py from the datasets below");
  if (const Json* sets = t.take("datasets"); sets != nullptr && sets->is_array()) {
    for (const Json& set : *sets) {
      t.tell("datasets: " + set.dump() + ": launch/prepare_text.py --source PATH makes token sets of files");
    }
  }
  const double held_out = t.number("val_set_size").value_or(0.0);
  if (held_out > 0.0 || t.has("test_datasets")) {
    t.set("data.validation", "data/validation.h5",
          held_out < 1.0 ? fmt::format("--validation-fraction {}", held_out) : "");
  }
  t.copy("sequence_len", "data.sequence_length");
  if (t.truth("sample_packing") || t.truth("multipack_real_batches")) {
    t.set("data.packing", "documents");
  }
  if (t.truth("train_on_inputs")) {
    t.tell("train_on_inputs: true: what counts in a chat is decided by launch/prepare_text.py");
  }
  const double micro = t.number("micro_batch_size").value_or(1.0);
  const double accumulation = t.number("gradient_accumulation_steps").value_or(1.0);
  t.set("batch.global", micro * accumulation, "of one GPU; multiply it with the number of GPUs that you had");
  t.set("batch.micro", micro);
  t.ignore({"test_datasets", "dataset_prepared_path", "pad_to_sequence_len", "eval_sample_packing", "group_by_length",
            "shuffle_merged_datasets", "dataset_processes", "chat_template", "special_tokens", "tokens",
            "eval_batch_size", "dataset_keep_in_memory", "dataloader_num_workers", "dataloader_pin_memory",
            "dataloader_prefetch_factor"});
}

void translate_training(Translation& t) {
  t.set("run.directory", t.text("output_dir").value_or("runs/imported"));
  t.copy("seed", "run.seed");
  const double steps = t.number("max_steps").value_or(0.0);
  const double epochs = t.number("num_epochs").value_or(1.0);
  steps > 0.0 ? t.set("run.steps", steps) : t.set("run.epochs", epochs);
  t.copy("base_model", "model.path");
  const bool bfloat = t.text("bf16").value_or("") == "auto" || t.truth("bf16") || t.truth("bfloat16");
  t.set("model.dtype", bfloat ? "bfloat16" : t.truth("fp16") || t.truth("float16") ? "float16" : "auto");
  t.choose("optimizer", "optimizer.kind",
           {{"adamw_torch", "adamw"},
            {"adamw_torch_fused", "adamw"},
            {"adamw_hf", "adamw"},
            {"adamw_bnb_8bit", "adamw_8bit"},
            {"adamw_8bit", "adamw_8bit"},
            {"paged_adamw_8bit", "adamw_8bit"},
            {"paged_adamw_32bit", "adamw"},
            {"lion_32bit", "lion"},
            {"adafactor", "adafactor"},
            {"came_pytorch", "came"}});
  t.copy("learning_rate", "optimizer.learning_rate");
  t.copy("weight_decay", "optimizer.weight_decay");
  t.copy("adam_epsilon", "optimizer.epsilon");
  if (t.has("adam_beta1") || t.has("adam_beta2")) {
    t.set("optimizer.betas",
          Json::array({t.number("adam_beta1").value_or(0.9), t.number("adam_beta2").value_or(0.999)}));
  }
  t.set("optimizer.max_gradient_norm", t.number("max_grad_norm").value_or(1.0));
  t.choose("lr_scheduler", "schedule.kind",
           {{"cosine", "cosine"},
            {"linear", "linear"},
            {"constant", "constant"},
            {"constant_with_warmup", "constant"},
            {"cosine_with_restarts", "cosine_restarts"},
            {"polynomial", "polynomial"},
            {"inverse_sqrt", "inverse_sqrt"},
            {"rex", "rex"}});
  if (const std::optional<double> ratio = t.number("warmup_ratio")) {
    t.set("schedule.warmup", fmt::format("{}%", 100.0 * *ratio));
  } else {
    t.copy("warmup_steps", "schedule.warmup");
  }
  if (const double least = t.number("cosine_min_lr_ratio").value_or(0.0); least > 0.0) {
    t.set("schedule.minimum_factor", least);
  }
  const auto several_an_epoch = [&](const char* path, const char* key) {
    if (const std::optional<double> times = t.number(path); times && *times > 0.0) {
      t.set(key, cadence(1.0 / *times, "EPOCH"));
    }
  };
  several_an_epoch("evals_per_epoch", "validation.every");
  several_an_epoch("saves_per_epoch", "checkpoint.every");
  const auto share_or_updates = [&](const char* path, const char* key) {
    if (const std::optional<double> value = t.number(path); value && *value >= 1.0) {
      t.set(key, *value);
    } else if (value) {
      t.tell(fmt::format("{}: {}: a share of the run; write updates in {}", path, *value, key));
    }
  };
  share_or_updates("eval_steps", "validation.every");
  share_or_updates("save_steps", "checkpoint.every");
  t.copy("early_stopping_patience", "validation.patience");
  t.copy("save_total_limit", "checkpoint.keep.last");
  if (t.truth("gradient_checkpointing")) {
    t.set("run.recompute", true);
  }
  t.set("export", Json::array({Json{{"for", "peft"}}}));
  for (const char* what : {"deepspeed", "fsdp", "fsdp_config", "rl", "unfrozen_parameters", "neftune_noise_alpha",
                           "lr_quadratic_warmup", "sequence_parallel_degree", "context_parallel_size"}) {
    t.lacks(what, kNotHere);
  }
  t.ignore({"bf16",
            "fp16",
            "tf32",
            "bfloat16",
            "float16",
            "model_type",
            "tokenizer_type",
            "tokenizer_config",
            "trust_remote_code",
            "strict",
            "xformers_attention",
            "flash_attention",
            "sdp_attention",
            "gradient_checkpointing_kwargs",
            "logging_steps",
            "wandb_project",
            "wandb_entity",
            "wandb_watch",
            "wandb_name",
            "wandb_run_id",
            "wandb_log_model",
            "mlflow_experiment_name",
            "hub_model_id",
            "hub_strategy",
            "auto_resume_from_checkpoints",
            "resume_from_checkpoint",
            "local_rank",
            "debug",
            "is_llama_derived_model",
            "is_mistral_derived_model",
            "save_safetensors",
            "save_strategy",
            "eval_strategy",
            "warmup_steps",
            "base_model_config",
            "plugins",
            "liger_rope",
            "liger_rms_norm",
            "liger_glu_activation"});
}

void translate_axolotl(Translation& t) {
  translate_training(t);
  translate_adapter(t);
  translate_data(t);
}

}  // namespace

Program axolotl() {
  return {"Axolotl", "its YAML", translate_axolotl};
}

}  // namespace dormer::migration::programs
