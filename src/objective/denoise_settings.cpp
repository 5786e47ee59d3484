#include "dormer/objective/denoise.hpp"

namespace dormer::objective {

void LossMix::describe(config::Visitor& visitor) {
  visitor.field("mse", mse, {.doc = "Weight of the squared difference.", .min = 0});
  visitor.field("mae", mae, {.doc = "Weight of the absolute difference.", .min = 0});
  visitor.field("huber", huber,
                {.doc = "Weight of Huber's loss: half the square up to huber_delta, then linear.", .min = 0});
  visitor.field("huber_delta", huber_delta, {.doc = "Where Huber's loss becomes linear.", .min = 1e-6});
  visitor.field("log_cosh", log_cosh, {.doc = "Weight of the logarithm of the hyperbolic cosine.", .min = 0});
}

void Weighting::describe(config::Visitor& visitor) {
  visitor.field(
      "kind", kind,
      {.doc = "How much a sample counts by its noise. min_snr: Hang et al. 2023; debiased: Yu et al. 2024; p2: "
              "Choi et al. 2022.",
       .choices = {"constant", "min_snr", "debiased", "p2"}});
  visitor.field("gamma", gamma, {.doc = "Limit of min_snr, exponent of p2.", .min = 0});
}

void TimestepChoice::describe(config::Visitor& visitor) {
  visitor.field("distribution", distribution,
                {.doc = "How steps of the noise schedule are drawn.",
                 .choices = {"uniform", "logit_normal", "heavy_tail", "cos_map"}});
  visitor.field("minimum", minimum,
                {.doc = "Share of the schedule's steps below which none is drawn.", .min = 0, .max = 1});
  visitor.field("maximum", maximum,
                {.doc = "Share of the schedule's steps above which none is drawn.", .min = 0, .max = 1});
  visitor.field("mean", mean, {.doc = "logit_normal: mean of the normal variable."});
  visitor.field("deviation", deviation, {.doc = "logit_normal: its standard deviation.", .min = 0});
  visitor.field("tail", tail, {.doc = "heavy_tail: how heavy (Esser et al. 2024)."});
  visitor.field("shift", shift, {.doc = "Towards more noise above 1: s t / (1 + (s - 1) t).", .min = 1e-3});
}

void DenoiseSettings::describe(config::Visitor& visitor) {
  visitor.field("prediction", prediction,
                {.doc = "What the model tells of noised latents. auto: what its folder says.",
                 .choices = {"auto", "epsilon", "v_prediction", "sample", "flow"}});
  visitor.group("loss", loss, "What is made of the difference between prediction and target.");
  visitor.group("weighting", weighting, "Weights of samples.");
  visitor.group("timesteps", timesteps, "Which noise samples get.");
  visitor.field("offset_noise", offset_noise, {.doc = "Noise of whole channels, added to that of elements.", .min = 0});
  visitor.field("input_perturbation", input_perturbation,
                {.doc = "Further noise in the input alone (Ning et al. 2023).", .min = 0});
  visitor.field(
      "zero_terminal_snr", zero_terminal_snr,
      {.doc = "Rescale the schedule so that its last step has no signal (Lin et al. 2024); wants v_prediction."});
}

}  // namespace dormer::objective
