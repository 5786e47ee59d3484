#include "dormer/objective/denoise.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>

#include <ATen/core/Tensor.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sign.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/zeros_like.h>

#include "dormer/core/error.hpp"
#include "dormer/data/normal_numbers.hpp"
#include "dormer/tensor/differentiable.hpp"

namespace dormer::objective {
namespace {

/// Uniform in (0, 1), of 32 bits.
double open_uniform(std::uint32_t word) {
  return (static_cast<double>(word) + 0.5) * 0x1p-32;
}

std::span<float> span_of(const at::Tensor& values) {
  return {values.mutable_data_ptr<float>(), static_cast<std::size_t>(values.numel())};
}

/// The noise of one sample, with its offset.
void draw_sample_noise(const DenoiseSettings& settings, RandomKey key, const at::Tensor& noise) {
  data::draw_normal_numbers(key.child("noise"), span_of(noise));
  if (settings.offset_noise != 0.0) {
    std::vector<float> offsets(static_cast<std::size_t>(noise.size(0)));
    data::draw_normal_numbers(key.child("offset"), offsets);
    for (std::int64_t channel = 0; channel < noise.size(0); ++channel) {
      noise.select(0, channel).add_(settings.offset_noise * offsets[static_cast<std::size_t>(channel)]);
    }
  }
}

/// One sample: z is its latent, the others are to be written.
void noise_sample(const DenoiseSettings& settings, const model::NoiseSchedule& schedule, std::int64_t step,
                  RandomKey key, const at::Tensor& z, at::Tensor input, at::Tensor target) {
  const double signal = schedule.signal(step);
  const double amount = schedule.noise(step);
  const at::Tensor noise = at::empty(z.sizes(), z.options());
  draw_sample_noise(settings, key, noise);
  if (settings.prediction == "epsilon") {
    target.copy_(noise);
  } else if (settings.prediction == "v_prediction") {
    target.copy_(noise.mul(signal).sub_(z, amount));
  } else if (settings.prediction == "flow") {
    target.copy_(noise.sub(z));
  } else {
    target.copy_(z);
  }
  if (settings.input_perturbation != 0.0) {
    const at::Tensor more = at::empty(z.sizes(), z.options());
    data::draw_normal_numbers(key.child("perturbation"), span_of(more));
    noise.add_(more, settings.input_perturbation);
  }
  input.copy_(z.mul(signal).add_(noise, amount));
}

/// What the mix makes of differences, and its derivative.
at::Tensor mixed(const LossMix& mix, const at::Tensor& d) {
  at::Tensor result = at::zeros_like(d);
  if (mix.mse != 0.0) {
    result.add_(d.square(), mix.mse);
  }
  if (mix.mae != 0.0) {
    result.add_(d.abs(), mix.mae);
  }
  if (mix.huber != 0.0) {  // c d - c²/2 with c = d limited to ± delta
    const at::Tensor limited = at::clamp(d, -mix.huber_delta, mix.huber_delta);
    result.add_(limited.mul(d).sub_(limited.square(), 0.5), mix.huber);
  }
  if (mix.log_cosh != 0.0) {  // |d| + log(1 + e^(-2|d|)) - log 2
    const at::Tensor size = d.abs();
    result.add_(size.add(at::softplus(size.mul(-2.0))).sub_(std::numbers::ln2), mix.log_cosh);
  }
  return result;
}

at::Tensor mixed_slope(const LossMix& mix, const at::Tensor& d) {
  at::Tensor result = d.mul(2.0 * mix.mse);
  if (mix.mae != 0.0) {
    result.add_(at::sign(d), mix.mae);
  }
  if (mix.huber != 0.0) {
    result.add_(at::clamp(d, -mix.huber_delta, mix.huber_delta), mix.huber);
  }
  if (mix.log_cosh != 0.0) {
    result.add_(at::tanh(d), mix.log_cosh);
  }
  return result;
}

LossSums loss_of(const model::Denoiser& denoiser, const model::NoiseSchedule& schedule, const DenoiseSettings& settings,
                 const DenoiseBatch& batch, const adapter::Pack& pack, const LossScale& scale) {
  const NoisedBatch made(settings, schedule, batch);
  const at::Device device = batch.text.device();
  const at::Tensor input = made.input().to(device);
  const at::Tensor timesteps = made.timesteps().to(device);
  const at::Tensor prediction = denoiser.predict({.latents = input,
                                                  .timesteps = timesteps,
                                                  .text = batch.text,
                                                  .pooled = batch.pooled,
                                                  .sizes = batch.sizes,
                                                  .recompute_blocks = scale.backward && scale.recompute_blocks},
                                                 pack);
  const at::Tensor difference = at::sub(tensor::detached(prediction).to(at::kFloat), targets_of(denoiser, made, batch));
  at::Tensor values = mixed(settings.loss, difference);
  if (batch.mask != nullptr) {
    values.mul_(batch.mask->to(device));
  }
  const std::int64_t samples = difference.size(0);
  const double elements = static_cast<double>(difference.numel() / samples);
  const at::Tensor sums = at::sum(values.view({samples, -1}), {1}, false, at::kDouble).cpu();
  LossSums result{0.0, samples};
  for (std::int64_t index = 0; index < samples; ++index) {
    result.loss_sum +=
        made.weights()[static_cast<std::size_t>(index)] * sums.const_data_ptr<double>()[index] / elements;
  }
  if (scale.backward) {
    at::Tensor gradient = mixed_slope(settings.loss, difference);
    if (batch.mask != nullptr) {
      gradient.mul_(batch.mask->to(device));
    }
    for (std::int64_t index = 0; index < samples; ++index) {
      gradient.select(0, index).mul_(made.weights()[static_cast<std::size_t>(index)] / (elements * scale.divisor));
    }
    tensor::run_backward(prediction, gradient.to(prediction.scalar_type()));
  }
  return result;
}

}  // namespace

NoisedBatch::NoisedBatch(const DenoiseSettings& settings, const model::NoiseSchedule& schedule,
                         const DenoiseBatch& batch) {
  const at::Tensor latents = batch.latents.cpu();
  const std::int64_t samples = latents.size(0);
  invariant(std::ssize(batch.keys) == samples, "{} samples have {} keys", samples, batch.keys.size());
  parts_ = {at::empty(latents.sizes(), latents.options()), at::empty(latents.sizes(), latents.options()),
            at::empty({samples}, latents.options())};
  for (std::int64_t index = 0; index < samples; ++index) {
    const auto at_index = static_cast<std::size_t>(index);
    const RandomKey key = batch.keys[at_index];
    const std::int64_t step = drawn_timestep(settings.timesteps, schedule.steps(), key.child("timestep"));
    parts_[2].mutable_data_ptr<float>()[index] = static_cast<float>(schedule.told(step));
    weights_.push_back((batch.weights.empty() ? 1.0 : batch.weights.at(at_index)) *
                       weight_of(settings.weighting, settings.prediction, schedule.signal_to_noise(step)));
    noise_sample(settings, schedule, step, key, latents.select(0, index), parts_[0].select(0, index),
                 parts_[1].select(0, index));
  }
}

const at::Tensor& NoisedBatch::input() const {
  return parts_[0];
}
const at::Tensor& NoisedBatch::target() const {
  return parts_[1];
}
const at::Tensor& NoisedBatch::timesteps() const {
  return parts_[2];
}

at::Tensor targets_of(const model::Denoiser& denoiser, const NoisedBatch& noised, const DenoiseBatch& batch) {
  const at::Device device = batch.text.device();
  at::Tensor targets = noised.target().to(device);
  if (std::ranges::find(batch.prior, true) == batch.prior.end()) {
    return targets;
  }
  const tensor::NoRecording guard;
  targets = targets.clone();  // the batch's own stays as it is
  const at::Tensor input = noised.input().to(device);
  const at::Tensor timesteps = noised.timesteps().to(device);
  const at::Tensor frozen =
      denoiser.predict({.latents = input,
                        .timesteps = timesteps,
                        .text = batch.frozen_text != nullptr ? *batch.frozen_text : batch.text,
                        .pooled = batch.frozen_pooled != nullptr ? batch.frozen_pooled : batch.pooled,
                        .sizes = batch.sizes},
                       adapter::Pack::solo(nullptr, targets.size(0)));
  for (std::size_t index = 0; index < batch.prior.size(); ++index) {
    if (batch.prior[index]) {
      targets.select(0, static_cast<std::int64_t>(index)).copy_(frozen.select(0, static_cast<std::int64_t>(index)));
    }
  }
  return targets;
}

std::int64_t drawn_timestep(const TimestepChoice& choice, std::int64_t steps, RandomKey key) {
  const auto words = philox(key, 0);
  double share = open_uniform(words[0]);
  if (choice.distribution == "logit_normal") {
    const double normal = choice.mean + choice.deviation * data::normal_number(key);
    share = 1.0 / (1.0 + std::exp(-normal));
  } else if (choice.distribution == "heavy_tail") {  // Esser et al. 2024: "mode"
    const double cosine = std::cos(std::numbers::pi / 2.0 * share);
    share = 1.0 - share - choice.tail * (cosine * cosine - 1.0 + share);
  } else if (choice.distribution == "cos_map") {
    share = 1.0 - 1.0 / (std::tan(std::numbers::pi / 2.0 * share) + 1.0);
  } else {
    invariant(choice.distribution == "uniform", "unknown distribution {}", choice.distribution);
  }
  share = choice.shift * share / (1.0 + (choice.shift - 1.0) * share);
  const auto count = static_cast<double>(steps);
  const double step = std::floor(count * (choice.minimum + (choice.maximum - choice.minimum) * share));
  return std::clamp(static_cast<std::int64_t>(step), std::int64_t{0}, steps - 1);
}

double weight_of(const Weighting& weighting, const std::string& prediction, double signal_to_noise) {
  constexpr double kLargestRatio = 1000.0;
  const double of_v = prediction == "v_prediction" ? 1.0 : 0.0;
  if (weighting.kind == "min_snr") {  // Hang et al. 2023
    return std::min(signal_to_noise, weighting.gamma) / (signal_to_noise + of_v);
  }
  if (weighting.kind == "debiased") {  // Yu et al. 2024
    return 1.0 / std::sqrt(std::min(signal_to_noise, kLargestRatio) + of_v);
  }
  if (weighting.kind == "p2") {  // Choi et al. 2022
    return std::pow(1.0 + signal_to_noise, -weighting.gamma);
  }
  invariant(weighting.kind == "constant", "unknown weighting {}", weighting.kind);
  return 1.0;
}

LossSums denoise_loss(const model::Denoiser& denoiser, const model::NoiseSchedule& schedule,
                      const DenoiseSettings& settings, const DenoiseBatch& batch, const adapter::Pack& pack,
                      const LossScale& scale) {
  invariant(settings.prediction != "auto", "the prediction is settled by whoever starts");
  if (scale.backward) {
    return loss_of(denoiser, schedule, settings, batch, pack, scale);
  }
  const tensor::NoRecording guard;
  return loss_of(denoiser, schedule, settings, batch, pack, scale);
}

}  // namespace dormer::objective
