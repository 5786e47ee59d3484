#include "dormer/migration/import.hpp"

#include <fstream>

#include <gmock/gmock.h>

#include "dormer/config/tree.hpp"
#include "dormer/core/error.hpp"
#include "dormer/train/run_config.hpp"
#include "support/temp_directory.hpp"

namespace dormer::migration {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class ImportTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path write(const std::string& name, const std::string& text) const {
    const std::filesystem::path file = folder_.path() / name;
    std::ofstream(file) << text;
    return file;
  }
  /// The configuration that the import makes, which must be one that a run takes.
  train::RunConfig imported(const std::string& program, const std::filesystem::path& file) {
    import_ = import_config(program, file);
    EXPECT_THAT(import_.mistakes, IsEmpty()) << import_.yaml;
    return train::load_run_config(write("ours.yaml", import_.yaml));
  }

  test::TempDirectory folder_;
  Import import_;
};

constexpr const char* kOneTrainer = R"({
  "__version": 6, "training_method": "LORA", "model_type": "STABLE_DIFFUSION_XL_10_BASE", "base_model_name": "models/sdxl",
  "workspace_dir": "runs/red", "cache_dir": "cache/red", "tensorboard": true, "peft_type": "LORA", "lora_rank": 32,
  "lora_alpha": 1.0, "lora_decompose": true, "lora_decompose_norm_epsilon": true, "lora_decompose_output_axis": false,
  "dropout_probability": 0.1, "layer_filter_preset": "attn-mlp", "layer_filter": "attentions",
  "resolution": "768,1024", "aspect_ratio_bucketing": true, "epochs": 12, "batch_size": 4,
  "gradient_accumulation_steps": 2, "multi_gpu": true, "device_indexes": "0,1,2", "learning_rate": 0.0003,
  "learning_rate_scaler": "BATCH", "unet": {"train": true, "learning_rate": null},
  "learning_rate_scheduler": "COSINE_WITH_RESTARTS", "learning_rate_cycles": 3, "learning_rate_warmup_steps": 0.05,
  "optimizer": {"optimizer": "ADAMW_8BIT", "beta1": 0.9, "beta2": 0.99, "weight_decay": 0.02, "fused_back_pass": true},
  "clip_grad_norm": 0.5, "loss_weight_fn": "MIN_SNR_GAMMA", "loss_weight_strength": 7.0, "mse_strength": 0.5,
  "huber_strength": 0.5, "timestep_distribution": "LOGIT_NORMAL", "noising_bias": -0.5, "noising_weight": 0.25,
  "offset_noise_weight": 0.03, "rescale_noise_scheduler_to_zero_terminal_snr": true, "force_v_prediction": true,
  "train_dtype": "BFLOAT_16", "output_dtype": "FLOAT_16", "output_model_destination": "models/red.safetensors",
  "output_model_format": "KOHYA_LORA", "validation": true, "validate_after": 2, "validate_after_unit": "EPOCH",
  "backup_after": 10, "backup_after_unit": "MINUTE", "rolling_backup": true, "rolling_backup_count": 5,
  "save_every": 250, "save_every_unit": "STEP", "ema": "CPU", "ema_decay": 0.99, "text_encoder": {"train": true, "learning_rate": 0.0001,
  "stop_training_after": 300, "stop_training_after_unit": "STEP"}, "text_encoder_2": {"train": true, "stop_training_after": 3,
  "stop_training_after_unit": "EPOCH"},
  "masked_training": true, "unmasked_weight": 0.2, "text_encoder_layer_skip": 1, "future_setting": 3,
  "sample_after": 10, "samples": [{"prompt": "a cat", "negative_prompt": "dog", "width": 768, "cfg_scale": 5.5}, {"enabled": false}],
  "concepts": [
    {"name": "red", "path": "data/red", "balancing": 3.0, "include_subdirectories": true,
     "image": {"enable_crop_jitter": true, "enable_random_flip": false, "enable_random_hue": true},
     "text": {"enable_tag_shuffling": true, "keep_tags_count": 2, "tag_dropout_enable": true, "tag_dropout_mode": "RANDOM",
              "tag_dropout_probability": 0.15}},
    {"path": "data/off", "enabled": false},
    {"path": "data/held out", "type": "VALIDATION", "image": {"enable_crop_jitter": false, "enable_random_flip": false},
     "text": {"prompt_source": "filename"}},
    {"path": "data/people", "balancing": 40, "balancing_strategy": "SAMPLES", "loss_weight": 0.5},
    {"path": "data/before", "type": "PRIOR_PREDICTION"}]})";

TEST_F(ImportTest, OneTrainersSettingsMeanTheSame) {
  const train::RunConfig config = imported("onetrainer", write("config.json", kOneTrainer));
  EXPECT_EQ(config.model.path, "models/sdxl");
  EXPECT_EQ(config.model.dtype, "bfloat16");
  EXPECT_EQ(config.run.directory, "runs/red");
  EXPECT_EQ(config.run.epochs, 12.0);
  EXPECT_EQ(config.adapter.kind, "lora");
  EXPECT_EQ(config.adapter.rank, 32);
  EXPECT_EQ(config.adapter.alpha.text, "1");
  EXPECT_EQ(config.adapter.decompose.value().axis, "input");
  EXPECT_EQ(config.adapter.profile, "onetrainer");
  EXPECT_EQ(config.adapter.dropout, 0.1);
  EXPECT_THAT(config.adapter.targets, ElementsAre("attention-mlp"));
  EXPECT_THAT(config.data.images.resolution, ElementsAre(768.0, 1024.0));
  EXPECT_EQ(config.batch.global, 24);
  EXPECT_EQ(config.batch.micro, 4);
  EXPECT_DOUBLE_EQ(config.optimizer.learning_rate, 0.0012);
  EXPECT_EQ(config.optimizer.kind, "adamw_8bit");
  EXPECT_THAT(config.optimizer.betas, ElementsAre(0.9, 0.99));
  EXPECT_EQ(config.optimizer.max_gradient_norm, 0.5);
  EXPECT_EQ(config.schedule.kind, "cosine_restarts");
  EXPECT_EQ(config.schedule.cycles, 3);
  EXPECT_EQ(config.text.clip_skip, 1);
  EXPECT_THAT(config.model.train, ElementsAre("unet", "text_encoder", "text_encoder_2"));
  ASSERT_EQ(config.adapter.overrides.size(), 1U);
  EXPECT_EQ(config.adapter.overrides[0].match, "text_encoder.*");
  EXPECT_DOUBLE_EQ(config.adapter.overrides[0].learning_rate.value_or(0.0), 0.0004);
  EXPECT_EQ(config.adapter.overrides[0].stop_after, 300);
  ASSERT_EQ(config.exports.size(), 1U);
  EXPECT_EQ(config.exports[0].consumer, "kohya");
  EXPECT_EQ(config.exports[0].dtype, "float16");
  EXPECT_EQ(config.exports[0].name, "red");
  EXPECT_EQ(config.checkpoint.keep.last, 5);
  const std::string& yaml = import_.yaml;
  for (const char* line :
       {"weighting: {kind: min_snr, gamma: 7}", "loss: {mse: 0.5, huber: 0.5}",
        "distribution: logit_normal, mean: -0.5, deviation: 1.25", "offset_noise: 0.03", "zero_terminal_snr: true",
        "prediction: v_prediction", "ema: {decay: 0.99, every: 5}", "warmup: 5%", "every: 2 epochs", "every: 10 min",
        "every: 250", "prompts: [a cat --n dog --w 768 --l 5.5]", "sampler: ddim",
        "- {path: data/red, name: red, captions: sidecar, subfolders: true, repeats: 3.0, "
        "random_crop: true, masks: {source: sidecar, required: false, unmasked_weight: 0.2}}",
        "- {path: data/held out, captions: filename, subfolders: false, repeats: 1.0, role: "
        "validation, masks:",
        "samples: 40, loss_weight: 0.5", "data/before, captions: sidecar, subfolders: false, repeats: 1.0, role: prior",
        "captions: {shuffle: true, tag_dropout: {rate: 0.15, mode: each}, keep_first: 2}"}) {
    EXPECT_THAT(yaml, HasSubstr(line));
  }
  EXPECT_THAT(yaml, Not(HasSubstr("data/off")));
}

TEST_F(ImportTest, WhatHasNoCounterpartIsToldByNameAndNothingElse) {
  static_cast<void>(imported("onetrainer", write("config.json", kOneTrainer)));
  EXPECT_THAT(import_.unmapped,
              ::testing::UnorderedElementsAre(HasSubstr("text_encoder_2.stop_training_after: 3 EPOCH: write"),
                                              HasSubstr("concepts[0].image.enable_random_hue: true"),
                                              "future_setting: 3: is not known to this import"));
  for (const std::string& line : import_.unmapped) {
    EXPECT_THAT(import_.yaml, HasSubstr("#   " + line));
  }
}

TEST_F(ImportTest, OneTrainersDefaultsAreThoseOfItsWindow) {
  const train::RunConfig config =
      imported("onetrainer",
               write("config.json", R"({"base_model_name": "m", "lora_decompose": true, "concepts": [{"path": "p"}],
                                            "layer_filter_preset": "attn-mlp"})"));
  EXPECT_EQ(config.adapter.rank, 16);
  EXPECT_EQ(config.adapter.alpha.text, "1");
  EXPECT_EQ(config.run.epochs, 100.0);
  EXPECT_EQ(config.batch.global, 1);
  EXPECT_EQ(config.schedule.kind, "constant");
  EXPECT_DOUBLE_EQ(config.optimizer.learning_rate, 3e-6);
}

TEST_F(ImportTest, PartsOfOneTrainerHaveTheCommonRateUnlessTheyNameOne) {
  const train::RunConfig pipeline = imported(
      "onetrainer",
      write("config.json", R"({"base_model_name": "m", "concepts": [{"path": "p"}], "text_encoder": {"train": true},
                                            "unet": {"learning_rate": 1e-4}, "layer_filter_preset": "attn-mlp"})"));
  EXPECT_DOUBLE_EQ(pipeline.optimizer.learning_rate, 1e-4);
  ASSERT_EQ(pipeline.adapter.overrides.size(), 1U);
  EXPECT_DOUBLE_EQ(pipeline.adapter.overrides[0].learning_rate.value_or(0.0), 3e-6);
  const train::RunConfig flow = imported(
      "onetrainer", write("config.json", R"({"base_model_name": "m", "concepts": [{"path": "p"}], "learning_rate": 1e-5,
                                            "model_type": "STABLE_DIFFUSION_35", "text_encoder": {"train": true},
                                            "transformer": {"learning_rate": 1e-4}, "unet": {"learning_rate": 2e-4},
                                            "layer_filter_preset": "attn-mlp"})"));
  EXPECT_DOUBLE_EQ(flow.optimizer.learning_rate, 1e-4);
  ASSERT_EQ(flow.adapter.overrides.size(), 1U);
  EXPECT_DOUBLE_EQ(flow.adapter.overrides[0].learning_rate.value_or(0.0), 1e-5);
}

TEST_F(ImportTest, OptimizersKeepTheirOwnSettings) {
  const train::RunConfig config = imported("onetrainer", write("config.json", R"({
    "base_model_name": "m", "concepts": [{"path": "p"}], "layer_filter_preset": "attn-mlp", "learning_rate": 1.0,
    "optimizer": {"optimizer": "PRODIGY", "d_coef": 0.8, "d0": 1e-5, "safeguard_warmup": true, "growth_rate": null}})"));
  EXPECT_EQ(config.optimizer.kind, "prodigy");
  EXPECT_THAT(import_.yaml, HasSubstr("prodigy: {initial_distance: 1e-05, coefficient: 0.8, safeguard_warmup: true}"));
}

constexpr const char* kKohya = R"toml(
[model]
pretrained_model_name_or_path = "models/sd15"
v2 = false
[network]
network_module = "lycoris.kohya"
network_dim = 8
network_alpha = 4
network_args = ["algo=lokr", "factor=6", "dora_wd=True", "wd_on_output=False", "module_dropout=0.1", "bypass_mode=True"]
network_train_unet_only = true
[optimizer]
optimizer_type = "AdamW8bit"
optimizer_args = ["weight_decay=0.05", "betas=(0.9, 0.95)"]
learning_rate = 1e-4
unet_lr = 3e-4
lr_scheduler = "cosine"
lr_warmup_steps = 0.1
[data]
dataset_config = "data.toml"
caption_dropout_rate = 0.05
prior_loss_weight = 0.5
max_token_length = 225
clip_skip = 2
[run]
output_dir = "runs"
output_name = "teapot"
max_train_epochs = 10
gradient_accumulation_steps = 2
seed = 42
mixed_precision = "bf16"
save_precision = "fp16"
save_every_n_epochs = 1
min_snr_gamma = 5
noise_offset = 0.05
sample_every_n_epochs = 1
sample_prompts = "prompts.txt"
sample_sampler = "k_euler_a"
xformers = true
)toml";
constexpr const char* kKohyaData = R"(
[general]
enable_bucket = true
shuffle_caption = true
keep_tokens = 1
[[datasets]]
resolution = [512, 768]
batch_size = 3
  [[datasets.subsets]]
  image_dir = "data/teapot"
  num_repeats = 5
  flip_aug = true
  [[datasets.subsets]]
  image_dir = "data/pots"
  is_reg = true
)";

TEST_F(ImportTest, KohyasTextEncodersTrainUnlessToldNotTo) {
  const auto with = [&](const std::string& settings) {
    return imported("kohya",
                    write("config.toml", "pretrained_model_name_or_path = 'm'\ntrain_data_dir = 'd'\n" + settings));
  };
  const train::RunConfig both = with("text_encoder_lr = [5e-5, 2e-5]\n");
  EXPECT_THAT(both.model.train, ElementsAre("unet", "text_encoder", "text_encoder_2"));
  ASSERT_EQ(both.adapter.overrides.size(), 2U);
  EXPECT_EQ(both.adapter.overrides[1].match, "text_encoder_2.*");
  EXPECT_EQ(both.adapter.overrides[1].learning_rate, 2e-5);
  const train::RunConfig first = with("text_encoder_lr = [5e-5, 0]\n");
  EXPECT_THAT(first.model.train, ElementsAre("unet", "text_encoder"));
  EXPECT_EQ(first.adapter.overrides.size(), 1U);
  const train::RunConfig second = with("text_encoder_lr = [0, 2e-5]\n");
  EXPECT_THAT(second.model.train, ElementsAre("unet", "text_encoder_2"));
  EXPECT_THAT(with("text_encoder_lr = 1e-5\n").model.train, ElementsAre("unet", "text_encoder"));
  EXPECT_THAT(import_.unmapped, ::testing::Contains(HasSubstr("add text_encoder_2 to model.train")));
  EXPECT_THAT(with("network_train_text_encoder_only = true\n").model.train, ElementsAre("text_encoder"));
  for (const char* frozen :
       {"network_train_unet_only = true\n", "cache_text_encoder_outputs = true\n", "text_encoder_lr = 0\n"}) {
    EXPECT_THAT(with(frozen).model.train, ElementsAre("unet")) << frozen;
  }
}

TEST_F(ImportTest, KohyasTwoFilesMeanTheSame) {
  static_cast<void>(write("data.toml", kKohyaData));
  static_cast<void>(write("prompts.txt", "# mine\na teapot, blue --w 768 --d 1\n\na pot\n"));
  const train::RunConfig config = imported("kohya", write("config.toml", kKohya));
  EXPECT_EQ(config.run.directory, "runs/teapot");
  EXPECT_EQ(config.run.seed, 42);
  EXPECT_EQ(config.run.epochs, 10.0);
  EXPECT_EQ(config.adapter.kind, "lokr");
  EXPECT_EQ(config.adapter.rank, 8);
  EXPECT_EQ(config.adapter.factor, 6);
  EXPECT_EQ(config.adapter.module_dropout, 0.1);
  EXPECT_EQ(config.adapter.decompose.value().axis, "input");
  EXPECT_EQ(config.adapter.profile, "lycoris");
  EXPECT_EQ(config.optimizer.kind, "adamw_8bit");
  EXPECT_DOUBLE_EQ(config.optimizer.learning_rate, 3e-4);
  EXPECT_DOUBLE_EQ(config.optimizer.weight_decay, 0.05);
  EXPECT_THAT(config.optimizer.betas, ElementsAre(0.9, 0.95));
  EXPECT_EQ(config.batch.global, 6);
  EXPECT_EQ(config.batch.micro, 3);
  EXPECT_EQ(config.text.max_tokens, 225);
  EXPECT_EQ(config.text.clip_skip, 1);
  EXPECT_EQ(config.model.dtype, "bfloat16");
  EXPECT_THAT(config.data.images.resolution, ElementsAre(627.0));
  for (const char* line :
       {"- {path: data/teapot, captions: sidecar, subfolders: false, repeats: 5, flip_probability: 0.5}",
        "- {path: data/pots, captions: sidecar, subfolders: false, repeats: 1, loss_weight: 0.5}",
        "captions: {shuffle: true, keep_first: 1, dropout: 0.05}", "warmup: 10%",
        "weighting: {kind: min_snr, gamma: 5}", "every: 1 epoch", "sampler: euler_a",
        "prompts: [\"a teapot, blue --w 768 --d 1\", a pot]"}) {
    EXPECT_THAT(import_.yaml, HasSubstr(line));
  }
  EXPECT_THAT(import_.unmapped, ElementsAre(HasSubstr("network_args: bypass_mode=True")));
}

TEST_F(ImportTest, AxolotlsSettingsMeanTheSame) {
  const train::RunConfig config = imported("axolotl", write("config.yml", R"(
base_model: HuggingFaceTB/SmolLM2-135M
adapter: lora
lora_r: 32
lora_alpha: 64
lora_dropout: 0.05
lora_target_linear: true
peft_use_dora: true
sequence_len: 2048
sample_packing: true
datasets:
  - path: tatsu-lab/alpaca
    type: alpaca
val_set_size: 0.02
micro_batch_size: 2
gradient_accumulation_steps: 4
num_epochs: 3
optimizer: adamw_bnb_8bit
lr_scheduler: cosine
learning_rate: 2e-4
warmup_ratio: 0.05
weight_decay: 0.1
bf16: auto
gradient_checkpointing: true
evals_per_epoch: 4
saves_per_epoch: 1
output_dir: ./outputs/dora
wandb_project: mine
flash_attention: true
deepspeed: zero2.json
)"));
  EXPECT_EQ(config.model.path, "HuggingFaceTB/SmolLM2-135M");
  EXPECT_EQ(config.adapter.rank, 32);
  EXPECT_EQ(config.adapter.alpha.text, "64");
  EXPECT_EQ(config.adapter.decompose.value().axis, "output");
  EXPECT_EQ(config.data.sequence_length, 2048);
  EXPECT_EQ(config.data.packing, "documents");
  EXPECT_EQ(config.batch.global, 8);
  EXPECT_EQ(config.batch.micro, 2);
  EXPECT_EQ(config.optimizer.kind, "adamw_8bit");
  EXPECT_DOUBLE_EQ(config.optimizer.learning_rate, 2e-4);
  EXPECT_TRUE(config.run.recompute);
  EXPECT_THAT(import_.yaml, HasSubstr("every: 0.25 epochs"));
  EXPECT_THAT(import_.unmapped,
              ::testing::UnorderedElementsAre(HasSubstr("tatsu-lab/alpaca"), HasSubstr("deepspeed: zero2.json")));
}

TEST_F(ImportTest, PeftsAdapterMeansTheSame) {
  const train::RunConfig config = imported("peft", write("adapter_config.json", R"({
    "peft_type": "LORA", "base_model_name_or_path": "models/base", "r": 4, "lora_alpha": 12, "lora_dropout": 0.0,
    "use_dora": true, "use_rslora": true, "bias": "lora_only", "target_modules": ["q_proj", "down_proj"],
    "rank_pattern": {"q_proj": 8}, "alpha_pattern": {"q_proj": 16}, "layers_to_transform": [0, 3],
    "init_lora_weights": "pissa_niter_8", "task_type": "CAUSAL_LM", "inference_mode": true, "fan_in_fan_out": false})"));
  EXPECT_EQ(config.adapter.rank, 4);
  EXPECT_EQ(config.adapter.decompose.value().axis, "output");
  EXPECT_TRUE(config.adapter.rank_stabilized);
  EXPECT_EQ(config.adapter.bias, "adapter_only");
  EXPECT_EQ(config.adapter.start, "pissa_fast");
  EXPECT_EQ(config.adapter.start_iterations, 8);
  EXPECT_EQ(config.adapter.layers, "0,3");
  EXPECT_THAT(config.adapter.targets, ElementsAre("q_proj", "down_proj"));
  ASSERT_EQ(config.adapter.overrides.size(), 1U);
  EXPECT_EQ(config.adapter.overrides[0].match, "*q_proj");
  EXPECT_EQ(config.adapter.overrides[0].rank, 8);
  EXPECT_THAT(import_.unmapped, IsEmpty());
}

TEST_F(ImportTest, WhatNoRunTakesIsToldBesideTheFile) {
  const Import import =
      import_config("peft", write("adapter_config.json", R"({"r": 0, "target_modules": ["q_proj"]})"));
  EXPECT_THAT(import.mistakes, Contains(HasSubstr("adapter.rank: must be between 1 and 4096, is 0")));
  EXPECT_THAT(import.mistakes, Contains(HasSubstr("model.path")));
  EXPECT_THAT(import.yaml, HasSubstr("# To be put right before it runs:"));
}

TEST_F(ImportTest, ValuesOfAnotherKindAreNamedWithTheirSetting) {
  const std::string onetrainer = R"({"base_model_name": "m", "lora_decompose": true, "resolution": "wide"})";
  const std::string kohya = "optimizer_args = [\"weight_decay=much\"]\nlearning_rate = 1e-4\n";
  const std::string pair = "optimizer_args = [\"betas=0.9\"]\n";
  for (const auto& [program, name, text, setting] :
       {std::tuple{"onetrainer", "a.json", onetrainer, "resolution"},
        {"kohya", "b.toml", kohya, "optimizer_args"},
        {"kohya", "c.toml", pair, "optimizer_args"},
        {"peft", "d.json", std::string(R"({"init_lora_weights": "pissa_niter_many"})"), "init_lora_weights"},
        {"peft", "e.json", "{\"r\": " + std::string(100, '[') + std::string(100, ']') + "}", "nests deeper"}}) {
    const std::filesystem::path file = write(name, text);
    try {
      static_cast<void>(import_config(program, file));
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kInput) << name;
      EXPECT_THAT(error.what(), testing::AllOf(HasSubstr(file.string()), HasSubstr(setting)));
    }
  }
}

TEST_F(ImportTest, BrokenFilesAreNamed) {
  for (const auto& [name, text] : {std::pair{"a.json", "{\"r\": 4"}, {"b.toml", "a = [1,"}, {"c.json", "[1, 2]"}}) {
    const std::filesystem::path file = write(name, text);
    try {
      static_cast<void>(import_config("kohya", file));
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kInput);
      EXPECT_THAT(error.what(), HasSubstr(file.string()));
    }
  }
  EXPECT_THROW(static_cast<void>(import_config("kohia", write("d.toml", "a = 1"))), Error);
}

}  // namespace
}  // namespace dormer::migration
