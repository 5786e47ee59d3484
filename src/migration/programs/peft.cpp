// PEFT's adapter_config.json: the adapter alone. Keys and defaults: LoraConfig, LoHaConfig and LoKrConfig.
#include <string>

#include "dormer/migration/import.hpp"
#include "migration/translation.hpp"

namespace dormer::migration::programs {
namespace {

void translate_kind(Translation& t) {
  const std::string type = t.text("peft_type").value_or("LORA");
  if (type != "LORA" && type != "LOHA" && type != "LOKR") {
    t.tell(fmt::format("peft_type: {}: {}", type, kNotHere));
  }
  t.set("adapter.kind", type == "LOHA" ? "loha" : type == "LOKR" ? "lokr" : "lora");
  t.set("adapter.rank", t.number("r").value_or(8.0));
  t.set("adapter.alpha", t.number(type == "LORA" ? "lora_alpha" : "alpha").value_or(8.0));
  t.set("adapter.profile", "peft");
  for (const auto& [theirs, ours] : {std::pair{"lora_dropout", "adapter.dropout"},
                                     {"rank_dropout", "adapter.rank_dropout"},
                                     {"module_dropout", "adapter.module_dropout"}}) {
    if (const double value = t.number(theirs).value_or(0.0); value > 0.0) {
      t.set(ours, value);
    }
  }
  if (t.truth("use_dora")) {
    t.set("adapter.decompose.axis", "output");
  }
  if (t.truth("use_rslora")) {
    t.set("adapter.rank_stabilized", true);
  }
  if (t.truth("decompose_both")) {
    t.set("adapter.decompose_both", true);
  }
  if (t.truth("use_effective_conv2d")) {
    t.set("adapter.tucker", true);
  }
  if (type == "LOKR") {
    t.copy("decompose_factor", "adapter.factor");
  }
  t.choose("bias", "adapter.bias", {{"none", "none"}, {"all", "all"}, {"lora_only", "adapter_only"}});
  if (const Json* start = t.take("init_lora_weights")) {
    const std::string word = start->is_string() ? start->get<std::string>() : "kaiming";
    if (word.starts_with("pissa_niter_")) {
      t.set("adapter.start", "pissa_fast");
      t.set("adapter.start_iterations", number_of(word.substr(std::string("pissa_niter_").size())));
    } else {
      t.choose(start->is_string() ? "init_lora_weights" : "", "adapter.start",
               {{"gaussian", "gaussian"}, {"pissa", "pissa"}, {"olora", "olora"}, {"eva", "eva"}});
    }
  }
}

void translate_targets(Translation& t) {
  if (const Json* targets = t.take("target_modules")) {
    if (targets->is_array()) {
      t.set("adapter.targets", *targets);
    } else if (*targets == "all-linear") {
      t.set("adapter.targets", Json::array({"all-linear"}));
    } else {
      t.tell("target_modules: " + targets->dump() +
             ": adapter.targets takes patterns with * and ?, no regular expressions");
    }
  }
  if (const Json* excluded = t.take("exclude_modules"); excluded != nullptr && excluded->is_array()) {
    t.set("adapter.exclude", *excluded);
  }
  if (const Json* layers = t.take("layers_to_transform")) {
    std::string text;
    for (const Json& layer : layers->is_array() ? *layers : Json::array({*layers})) {
      text += (text.empty() ? "" : ",") + layer.dump();
    }
    t.set("adapter.layers", text);
  }
  Json overrides = Json::array();
  const Json* ranks = t.take("rank_pattern");
  const Json* alphas = t.take("alpha_pattern");
  const Json none = Json::object();
  for (const auto& [pattern, rank] : (ranks == nullptr ? none : *ranks).items()) {
    Json one{{"match", "*" + pattern}, {"rank", rank}};
    if (alphas != nullptr && alphas->contains(pattern)) {
      one["alpha"] = alphas->at(pattern);
    }
    overrides.push_back(one);
  }
  if (alphas != nullptr) {
    for (const auto& [pattern, alpha] : alphas->items()) {
      if (ranks == nullptr || !ranks->contains(pattern)) {
        overrides.push_back({{"match", "*" + pattern}, {"alpha", alpha}});
      }
    }
  }
  if (const Json* saved = t.take("modules_to_save"); saved != nullptr && saved->is_array()) {
    for (const Json& name : *saved) {
      overrides.push_back({{"match", name}, {"kind", "full"}});
    }
  }
  if (!overrides.empty()) {
    t.set("adapter.overrides", overrides);
  }
  if (t.has("trainable_token_indices")) {
    t.lacks("trainable_token_indices", "model.added_tokens: train gives rows to the tokenizer's new tokens");
  }
}

void translate_peft(Translation& t) {
  t.set("run.directory", "runs/imported");
  t.set("run.epochs", 1);
  t.copy("base_model_name_or_path", "model.path");
  translate_kind(t);
  translate_targets(t);
  t.set("data.train", "data/train.h5", "made by launch/prepare_text.py");
  t.set("export", Json::array({Json{{"for", "peft"}}}));
  for (const char* what :
       {"fan_in_fan_out", "layer_replication", "megatron_config", "eva_config", "corda_config", "loftq_config",
        "lora_bias", "use_qalora", "alora_invocation_tokens", "target_parameters", "arrow_config"}) {
    t.lacks(what, kNotHere);
  }
  t.ignore({"auto_mapping", "inference_mode", "task_type", "revision", "peft_version", "layers_pattern",
            "megatron_core", "qalora_group_size", "ensure_weight_tying"});
}

}  // namespace

Program peft() {
  return {"PEFT", "adapter_config.json", translate_peft};
}

}  // namespace dormer::migration::programs
