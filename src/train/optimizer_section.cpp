#include "dormer/train/optimizer_section.hpp"

#include "dormer/optim/optimizer.hpp"
#include "dormer/optim/schedule.hpp"

namespace dormer::train {

void MagnitudeSection::describe(config::Visitor& visitor) {
  visitor.field("learning_rate", learning_rate,
                {.doc = "Learning rate of the magnitudes. null: the optimizer's.", .min = 0});
  visitor.field("weight_decay", weight_decay, {.doc = "Weight decay of the magnitudes.", .min = 0});
}

void AdafactorSection::describe(config::Visitor& visitor) {
  visitor.field(
      "relative_step", relative_step,
      {.doc = "The rate of update t is at most 1 / sqrt(t); optimizer.learning_rate is its bound (the paper's: "
              "0.01)."});
  visitor.field("scale_parameter", scale_parameter,
                {.doc = "Times the root mean square of the parameter, at least 0.001."});
  visitor.field("decay_exponent", decay_exponent,
                {.doc = "Second moments keep 1 - t^-exponent of themselves in update t.",
                 .min = 0,
                 .max = 1,
                 .exclusive_min = true});
  visitor.field("clip_threshold", clip_threshold,
                {.doc = "Root mean square of a parameter's update above which it is scaled down to it.",
                 .min = 0,
                 .exclusive_min = true});
}

void CameSection::describe(config::Visitor& visitor) {
  visitor.field("confidence_beta", confidence_beta,
                {.doc = "Decay of the statistics of what the momentum misses (beta3); below 1.", .min = 0, .max = 1});
  visitor.field("clip_threshold", clip_threshold,
                {.doc = "Root mean square of a parameter's update above which it is scaled down to it.",
                 .min = 0,
                 .exclusive_min = true});
}

void ProdigySection::describe(config::Visitor& visitor) {
  visitor.field("initial_distance", initial_distance,
                {.doc = "First estimate of the distance to the solution (d0).", .min = 0, .exclusive_min = true});
  visitor.field("coefficient", coefficient,
                {.doc = "Factor of every estimate; the steps are that much longer.", .min = 0, .exclusive_min = true});
  visitor.field("growth_rate", growth_rate,
                {.doc = "What the estimate may grow by in one update, above 1. null: any.", .min = 1});
  visitor.field("bias_correction", bias_correction, {.doc = "Adam's correction of young moments."});
  visitor.field("safeguard_warmup", safeguard_warmup,
                {.doc = "Keeps a warm-up of the learning rate out of the estimate's denominator."});
}

void OptimizerSection::describe(config::Visitor& visitor) {
  visitor.field("kind", kind, {.doc = "Rule of the update.", .choices = optim::optimizer_registry().names()});
  visitor.field("learning_rate", learning_rate,
                {.doc = "Learning rate after warm-up. prodigy multiplies its own estimate with it: write 1 there.",
                 .min = 0,
                 .exclusive_min = true});
  visitor.field(
      "betas", betas,
      {.doc = "Decay of the first and of the second moment; each in [0, 1). lion: of the mixture whose sign counts "
              "and of the moment (its authors': 0.9, 0.99).",
       .min = 0,
       .max = 1});
  visitor.field("epsilon", epsilon,
                {.doc = "Added to the root of the second moment.", .min = 0, .exclusive_min = true});
  visitor.field("weight_decay", weight_decay, {.doc = "Decoupled weight decay of the factors.", .min = 0});
  visitor.field(
      "max_gradient_norm", max_gradient_norm,
      {.doc = "Gradients with a larger global norm are scaled down to it. null or 0: no clipping.", .min = 0});
  visitor.field("loraplus_ratio", loraplus_ratio,
                {.doc = "Learning rate of the outer factors (B) over that of the inner ones (A): LoRA+. 1: the same.",
                 .min = 0,
                 .exclusive_min = true});
  visitor.field("max_skipped", max_skipped,
                {.doc = "Updates of the run that are passed over, with parameters and moments as they were, because "
                        "their loss or gradient is not finite; one more ends the run with exit code 5.",
                 .min = 0});
  visitor.group("magnitude", magnitude, "The magnitudes of a decomposed adapter.");
  visitor.group("adafactor", adafactor, "Of kind: adafactor alone.");
  visitor.group("came", came, "Of kind: came alone.");
  visitor.group("prodigy", prodigy, "Of kind: prodigy alone.");
  visitor.optional_group("ema", ema,
                         "An exponential moving average of what is trained, which is validated, saved and exported in "
                         "its place. null: none.");
}

void AverageSection::describe(config::Visitor& visitor) {
  visitor.field("decay", decay,
                {.doc = "What the average keeps of itself each time, at most: at its n-th renewal (1 + n) / (10 + n) "
                        "while that is less.",
                 .min = 0,
                 .max = 0.999999});
  visitor.field("every", every, {.doc = "Updates from one renewal to the next.", .min = 1});
}

void ScheduleSection::describe(config::Visitor& visitor) {
  visitor.field("kind", kind,
                {.doc = "Shape of the learning rate after warm-up.", .choices = optim::schedule_registry().names()});
  visitor.field("warmup", warmup,
                {.doc = "Updates in which the learning rate rises: a number, or a share such as 3%."});
  visitor.field("cycles", cycles, {.doc = "Falls of cosine_restarts, all of one length.", .min = 1, .max = 1'000'000});
  visitor.field("power", power,
                {.doc = "Exponent of polynomial: (1 - progress)^power.", .min = 0, .exclusive_min = true});
  visitor.field(
      "minimum_factor", minimum_factor,
      {.doc = "What the learning rate falls towards, as a share of optimizer.learning_rate, in every shape: m + "
              "(1 - m) * shape. Below 1.",
       .min = 0,
       .max = 1});
  visitor.field("extend", extend,
                {.doc = "What continuing with more updates does with the schedule: keep it, or stretch it over them.",
                 .choices = {"keep", "stretch"}});
}

}  // namespace dormer::train
