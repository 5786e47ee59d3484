#include "dormer/adapter/config.hpp"

#include <cmath>

#include "dormer/adapter/kinds.hpp"
#include "dormer/adapter/profile.hpp"
#include "dormer/core/error.hpp"

namespace dormer::adapter {

void DecomposeConfig::describe(config::Visitor& visitor) {
  visitor.field(
      "axis", axis,
      {.doc = "What each magnitude stands for: one output row (PEFT, diffusers), one input channel (ComfyUI, A1111, "
              "Forge, kohya, OneTrainer), or what the exports need.",
       .choices = {"auto", "output", "input"}});
  visitor.field("epsilon", epsilon,
                {.doc = "Added to every norm. PEFT and NVlabs: 0; LyCORIS and OneTrainer: 1.1920929e-07.",
                 .min = 0,
                 .max = 0.01});
  visitor.field(
      "norm_gradient", norm_gradient,
      {.doc =
           "Whether norms pass gradients to the factors (LyCORIS) or count as constants (PEFT, NVlabs, OneTrainer)."});
}

void OverrideConfig::describe(config::Visitor& visitor) {
  visitor.field("match", match, {.doc = "Layers that this is for: a pattern as in targets.", .required = true});
  visitor.field("kind", kind,
                {.doc = "Form of their change. null: adapter.kind. full sites are not decomposed.",
                 .choices = adapter_kinds().names()});
  visitor.field("rank", rank, {.doc = "Their rank. null: adapter.rank.", .min = 1, .max = 4096});
  visitor.field("alpha", alpha, {.doc = "Their alpha. null: adapter.alpha, evaluated with their rank."});
  visitor.field("dropout", dropout,
                {.doc = "Their dropout. null: adapter.dropout.", .min = 0, .max = AdapterConfig::kMaximumDropout});
  visitor.field(
      "rank_dropout", rank_dropout,
      {.doc = "Their rank_dropout. null: adapter.rank_dropout.", .min = 0, .max = AdapterConfig::kMaximumDropout});
  visitor.field(
      "module_dropout", module_dropout,
      {.doc = "Their module_dropout. null: adapter.module_dropout.", .min = 0, .max = AdapterConfig::kMaximumDropout});
  visitor.field("learning_rate", learning_rate,
                {.doc = "Their learning rate, magnitudes included. null: the optimizer's.", .min = 0});
  visitor.field(
      "stop_after", stop_after,
      {.doc = "Updates after which their parameters stay as they are. null: they train to the end.", .min = 1});
}

namespace {

void describe_dropout(AdapterConfig& config, config::Visitor& visitor) {
  visitor.field("dropout", config.dropout,
                {.doc = "Share of the input that is dropped in training; below 1.",
                 .min = 0,
                 .max = AdapterConfig::kMaximumDropout});
  visitor.field(
      "dropout_placement", config.dropout_placement,
      {.doc = "What sees the dropped input: input, the adapter's part alone (PEFT, NVlabs); whole, the layer's own "
              "product, too (OneTrainer's DoRA). null: the profile's, else input.",
       .choices = {"input", "whole"}});
  visitor.field("rank_dropout", config.rank_dropout,
                {.doc = "Probability that an update leaves a row of the change out (LyCORIS's rank_dropout).",
                 .min = 0,
                 .max = AdapterConfig::kMaximumDropout});
  visitor.field("rank_dropout_scale", config.rank_dropout_scale,
                {.doc = "Divide the rows that are left by their share."});
  visitor.field("module_dropout", config.module_dropout,
                {.doc = "Probability that an update leaves a layer as its base (LyCORIS's module_dropout).",
                 .min = 0,
                 .max = AdapterConfig::kMaximumDropout});
}

}  // namespace

void AdapterConfig::describe(config::Visitor& visitor) {
  visitor.field("kind", kind, {.doc = "Form of the trained change.", .choices = adapter_kinds().names()});
  visitor.field("rank", rank, {.doc = "Inner width of the low-rank change.", .min = 1, .max = 4096});
  visitor.field("alpha", alpha,
                {.doc = "The change is scaled by alpha / rank; a number or an expression such as 2*rank. null: rank."});
  visitor.field("rank_stabilized", rank_stabilized, {.doc = "Scale by alpha / sqrt(rank) (rsLoRA)."});
  visitor.field("conv_rank", conv_rank, {.doc = "Rank on convolutions. null: rank.", .min = 1, .max = 4096});
  visitor.field("conv_alpha", conv_alpha, {.doc = "Alpha on convolutions. null: alpha, evaluated with their rank."});
  visitor.field("tucker", tucker,
                {.doc = "Kernels of several taps get a factor of their own (the Tucker or CP form)."});
  visitor.field(
      "factor", factor,
      {.doc = "lokr: what both widths of a layer are divided by. -1: as near to their square roots as they allow.",
       .min = -1,
       .max = 65536});
  visitor.field("decompose_both", decompose_both, {.doc = "lokr: the smaller factor may be low-rank, too."});
  visitor.field("full_matrix", full_matrix, {.doc = "lokr: both factors are whole; the rank means nothing."});
  visitor.field(
      "start", start,
      {.doc = "lora: how the factors of linear layers start. kaiming and gaussian leave the change zero by B = "
              "0; pissa, pissa_fast and olora take the largest parts of the weight, which then train; eva takes A "
              "from the layers' inputs, with B = 0.",
       .choices = start_names()});
  visitor.field("start_iterations", start_iterations,
                {.doc = "pissa_fast: iterations of the randomized decomposition.", .min = 0, .max = 100});
  visitor.field("start_samples", start_samples,
                {.doc = "eva: samples of the training data, the run's first, that the inputs are taken from; at most "
                        "all.",
                 .min = 1,
                 .max = 1'000'000});
  describe_dropout(*this, visitor);
  visitor.field(
      "profile", profile,
      {.doc = "Program whose training is followed where nothing else is written: axis, epsilon and gradient of "
              "the norms, place of the dropout, rounding of the first magnitudes. null: none.",
       .choices = profile_names()});
  visitor.optional_group("decompose", decompose, "DoRA: magnitude and direction apart. null: the plain kind.");
  visitor.field(
      "bias", bias,
      {.doc = "Biases that train: adapter_only, those of layers with an adapter (PEFT's lora_only); all, those of "
              "every layer.",
       .choices = {"none", "all", "adapter_only"}});
  visitor.field(
      "targets", targets,
      {.doc = "Layers that get an adapter: all-linear, attention, mlp, attention-mlp, or patterns over names such "
              "as q_proj, *.layers.3.*, embed_tokens, lm_head or *norm."});
  visitor.field("exclude", exclude, {.doc = "Patterns over names: layers that get no adapter."});
  visitor.field("layers", layers, {.doc = "Blocks that get adapters, such as 8-31 or 0,2,4-7. null: all."});
  visitor.field("init_from", init_from, {.doc = "Folder of an adapter in PEFT's form to start from."});
  visitor.list("overrides", overrides,
               "Layers that differ from the rest. Several may match a layer where they do not contradict each other.");
}

StartRule AdapterConfig::start_rule() const {
  return {.start = start_named(start), .iterations = start_iterations};
}

Axis AdapterConfig::axis() const {
  if (decompose && decompose->axis != "auto") {
    return decompose->axis == "input" ? Axis::kInput : Axis::kOutput;
  }
  return profile_of(*this).value_or(Profile{}).axis;
}

double AdapterConfig::epsilon() const {
  const double own = decompose ? decompose->epsilon : 0.0;
  return own != 0.0 ? own : profile_of(*this).value_or(Profile{}).epsilon;
}

bool AdapterConfig::norm_gradient() const {
  return (decompose && decompose->norm_gradient) || profile_of(*this).value_or(Profile{}).norm_gradient;
}

bool AdapterConfig::whole_dropout() const {
  return dropout_placement ? *dropout_placement == "whole" : profile_of(*this).value_or(Profile{}).whole_dropout;
}

bool AdapterConfig::rounds_magnitude() const {
  return profile_of(*this).value_or(Profile{}).rounds_magnitude;
}

double AdapterConfig::alpha_for(std::int64_t site_rank) const {
  const auto width = static_cast<double>(site_rank);
  return alpha.absent() ? width : alpha.evaluate({{"rank", width}, {"adapter.rank", width}});
}

double AdapterConfig::alpha_value() const {
  return alpha_for(rank);
}

double AdapterConfig::scale_of(std::int64_t site_rank, double site_alpha) const {
  const auto width = static_cast<double>(site_rank);
  return site_alpha / (rank_stabilized ? std::sqrt(width) : width);
}

double AdapterConfig::scale() const {
  return scale_of(rank, alpha_value());
}

}  // namespace dormer::adapter
