#include "train/foreign_names.hpp"

#include <string>

namespace dormer::train {
namespace {

config::ForeignName write(const char* key, const std::string& lines) {
  return {key, "", "write \"" + lines + "\""};
}
config::ForeignName write_for(const char* key, const char* value, const std::string& lines) {
  return {key, value, "write \"" + lines + "\""};
}
config::ForeignName later(const char* key, const std::string& instead) {
  return {key, "", "not available yet; " + instead};
}

void add_adapter_names(std::vector<config::ForeignName>& names) {
  for (const char* key : {"r", "lora_r", "lora_rank", "lora_dim", "network_dim", "dim"}) {
    names.push_back(write(key, "adapter: {rank: $}"));
  }
  for (const char* key : {"lora_alpha", "network_alpha"}) {
    names.push_back(write(key, "adapter: {alpha: $}"));
  }
  const std::string decompose = "adapter: {decompose: {axis: auto}}";
  for (const char* key : {"use_dora", "dora", "dora_wd", "weight_decompose", "lora_decompose", "peft_use_dora"}) {
    names.push_back({key, "false", "leave it out: without \"decompose\" the adapter is the plain kind"});
    names.push_back(write(key, decompose));
  }
  for (const char* value : {"dora", "DoRA", "DORA"}) {
    names.push_back(write_for("kind", value, "adapter: {kind: lora, decompose: {axis: auto}}"));
    names.push_back(write_for("type", value, "adapter: {kind: lora, decompose: {axis: auto}}"));
    names.push_back(write_for("peft_type", value, "adapter: {kind: lora, decompose: {axis: auto}}"));
  }
  for (const char* kind : {"locon", "loha", "lokr"}) {
    names.push_back(write_for("algo", kind, std::string("adapter: {kind: ") + kind + "}"));
  }
  names.push_back(write("conv_dim", "adapter: {conv_rank: $}"));
  for (const char* key : {"use_tucker", "use_cp", "use_effective_conv2d"}) {
    names.push_back(write(key, "adapter: {tucker: $}"));
  }
  for (const char* key : {"lokr_factor", "decompose_factor"}) {
    names.push_back(write(key, "adapter: {factor: $}"));
  }
  names.push_back({"peft_type", "", "write \"adapter: {kind: lora}\""});
  names.push_back({"network_module", "", "write \"adapter: {kind: lora}\""});
  for (const char* key : {"target_modules", "lora_target_modules", "lora_target", "lora_target_linear"}) {
    names.push_back(write(key, "adapter: {targets: [q_proj, v_proj]}"));
  }
  for (const char* key : {"wd_on_output", "wd_on_out", "lora_decompose_output_axis"}) {
    names.push_back(write_for(key, "false", "adapter: {decompose: {axis: input}}"));
    names.push_back(write(key, "adapter: {decompose: {axis: output}}"));
  }
  const char* const initial = "init_lora_weights";
  names.push_back({initial, "true", "leave it out; A starts Kaiming uniform and B zero"});
  names.push_back(write_for(initial, "gaussian", "adapter: {start: gaussian}"));
  names.push_back(write_for(initial, "pissa", "adapter: {start: pissa}"));
  names.push_back(write_for(initial, "olora", "adapter: {start: olora}"));
  names.push_back(write_for(initial, "eva", "adapter: {start: eva}"));
  names.push_back({"eva_config", "", "write \"adapter: {start: eva, start_samples: 32}\"; ranks stay as configured"});
  for (const char* iterations : {"2", "4", "8", "16", "32"}) {
    names.push_back({initial, std::string("pissa_niter_") + iterations,
                     std::string("write \"adapter: {start: pissa_fast, start_iterations: ") + iterations + "}\""});
  }
  names.push_back({initial, "", "write \"adapter: {start: gaussian}\", or pissa, pissa_fast, olora or eva"});
  names.push_back(write("use_rslora", "adapter: {rank_stabilized: $}"));
  for (const char* key : {"lora_dropout", "dropout", "network_dropout"}) {
    names.push_back(write(key, "adapter: {dropout: $}"));
  }
  names.push_back(write("modules_to_save", "adapter: {overrides: [{match: down_proj, kind: full}]}"));
  for (const char* key : {"trainable_token_indices", "resize_vocab", "added_tokens_overrides"}) {
    names.push_back(write(key, "model: {added_tokens: train}"));
  }
}

void add_optimizer_names(std::vector<config::ForeignName>& names) {
  names.push_back(write("lr", "optimizer: {learning_rate: $}"));
  for (const char* key : {"unet_lr", "text_encoder_lr"}) {
    names.push_back(write(key, "optimizer: {learning_rate: $}"));
  }
  for (const char* key : {"optim", "optimizer_type"}) {
    names.push_back(write(key, "optimizer: {kind: adamw}"));
  }
  names.push_back(write("adam_beta1", "optimizer: {betas: [$, 0.999]}"));
  names.push_back(write("adam_beta2", "optimizer: {betas: [0.9, $]}"));
  for (const char* key : {"adam_epsilon", "eps"}) {
    names.push_back(write(key, "optimizer: {epsilon: $}"));
  }
  for (const char* key : {"max_grad_norm", "gradient_clipping", "clip_grad_norm", "gradient_clip_val"}) {
    names.push_back(write(key, "optimizer: {max_gradient_norm: $}"));
  }
  for (const char* key : {"lr_scheduler_type", "lr_scheduler", "scheduler", "learning_rate_scheduler"}) {
    names.push_back(write(key, "schedule: {kind: $}"));
  }
  for (const char* key : {"warmup_steps", "lr_warmup_steps", "num_warmup_steps", "learning_rate_warmup_steps"}) {
    names.push_back(write(key, "schedule: {warmup: $}"));
  }
  names.push_back({"warmup_ratio", "", "write \"schedule: {warmup: 3%}\", the share ($) in percent"});
}

void add_batch_names(std::vector<config::ForeignName>& names) {
  for (const char* key : {"per_device_train_batch_size", "train_batch_size", "micro_batch_size", "batch_size"}) {
    names.push_back(
        {key, "", "write \"batch: {global: …, micro: $}\"; global counts the samples of an update over all ranks"});
  }
  for (const char* key : {"gradient_accumulation_steps", "gradient_accumulation", "accumulate_grad_batches"}) {
    names.push_back(
        {key, "", "write \"batch: {global: …}\", micro batch x ranks x $; accumulation follows from the ranks"});
  }
  for (const char* key : {"num_train_epochs", "max_train_epochs", "num_epochs"}) {
    names.push_back(write(key, "run: {epochs: $}"));
  }
  for (const char* key : {"max_steps", "max_train_steps"}) {
    names.push_back(write(key, "run: {steps: $}"));
  }
  for (const char* key : {"max_seq_length", "max_seq_len", "max_length", "cutoff_len", "sequence_len", "block_size"}) {
    names.push_back(write(key, "data: {sequence_length: $}"));
  }
  for (const char* key : {"train_file", "dataset", "datasets", "dataset_name", "train_data_dir"}) {
    names.push_back(
        {key, "", "make a token data set with launch/prepare_text.py and write \"data: {train: data/train.h5}\""});
  }
  names.push_back(write("validation_file", "data: {validation: data/validation.h5}"));
}

void add_run_names(std::vector<config::ForeignName>& names) {
  for (const char* key : {"output_dir", "workspace_dir", "logging_dir"}) {
    names.push_back(write(key, "run: {directory: $}"));
  }
  for (const char* key : {"output_name", "run_name"}) {
    names.push_back(write(key, "run: {name: $}"));
  }
  for (const char* key :
       {"model_name_or_path", "base_model", "base_model_name_or_path", "pretrained_model_name_or_path"}) {
    names.push_back(write(key, "model: {path: $}"));
  }
  for (const char* key : {"bf16", "fp16", "mixed_precision", "torch_dtype"}) {
    names.push_back(write(key, key == std::string("fp16") ? "model: {dtype: auto}" : "model: {dtype: bfloat16}"));
  }
  for (const char* key : {"save_steps", "save_every_n_steps", "save_strategy"}) {
    names.push_back(write(key, "checkpoint: {every: $}"));
  }
  names.push_back(write("save_total_limit", "checkpoint: {keep: {last: $}}"));
  for (const char* key : {"eval_steps", "evaluation_strategy", "eval_strategy"}) {
    names.push_back(write(key, "validation: {every: $}"));
  }
  names.push_back(write("early_stopping_patience", "validation: {patience: $}"));
  names.push_back(write("resume_from_checkpoint", "run: {resume: auto}"));
  names.push_back({"save_every_n_epochs", "", "write \"checkpoint: {every: $ epochs}\""});
  for (const char* key : {"use_cpu", "no_cuda"}) {
    names.push_back(write(key, "run: {device: cpu}"));
  }
  for (const char* key : {"gradient_checkpointing", "logging_steps", "report_to", "push_to_hub", "deepspeed", "fsdp",
                          "dataloader_num_workers", "ddp_find_unused_parameters"}) {
    names.push_back({key, "", "leave it out; there is nothing to set"});
  }
  for (const char* key : {"sampling", "text"}) {
    names.push_back(later(key, "leave the group out"));
  }
}

}  // namespace

std::vector<config::ForeignName> foreign_names() {
  std::vector<config::ForeignName> names;
  add_adapter_names(names);
  add_optimizer_names(names);
  add_batch_names(names);
  add_run_names(names);
  return names;
}

}  // namespace dormer::train
