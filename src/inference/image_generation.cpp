#include "dormer/inference/image_generation.hpp"

#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include "dormer/core/error.hpp"
#include "dormer/core/random_key.hpp"
#include "dormer/data/normal_numbers.hpp"
#include "dormer/inference/image_sampler.hpp"
#include "dormer/tensor/differentiable.hpp"

namespace dormer::inference {
namespace {

at::Tensor drawn(RandomKey key, at::IntArrayRef sizes) {
  at::Tensor noise = at::empty(sizes, at::kFloat);
  data::draw_normal_numbers(key, {noise.mutable_data_ptr<float>(), static_cast<std::size_t>(noise.numel())});
  return noise;
}

/// What the denoiser is told beside latents and time, for one or two texts.
struct Conditions {
  at::Tensor text;
  at::Tensor pooled;  // or undefined
  at::Tensor sizes;   // or undefined
};

Conditions conditions_of(const model::Denoiser& denoiser, const ImageRequest& request, bool guided,
                         const at::Device& device) {
  const auto joined = [&](std::size_t part) {
    const at::Tensor& wanted = request.conditions.at(part);
    return (guided ? at::cat({request.negative.at(part), wanted}) : wanted).to(device);
  };
  Conditions result{joined(0), {}, {}};
  if (denoiser.facts().pooled_width > 0) {
    result.pooled = joined(1);
    at::Tensor sizes = at::empty({result.text.size(0), 6});
    for (std::int64_t row = 0; row < sizes.size(0); ++row) {
      float* numbers = sizes.mutable_data_ptr<float>() + row * 6;
      numbers[0] = numbers[4] = static_cast<float>(request.height);
      numbers[1] = numbers[5] = static_cast<float>(request.width);
      numbers[2] = numbers[3] = 0.0F;
    }
    result.sizes = sizes.to(device);
  }
  return result;
}

}  // namespace

std::vector<std::string> spacing_choices() {
  std::vector<std::string> choices = model::timestep_spacings();
  choices.insert(choices.begin(), "auto");
  return choices;
}

std::optional<at::Tensor> generate_latents(const model::ImageModel& model, const adapter::AdapterSet* adapters,
                                           const ImageRequest& request) {
  const tensor::NoRecording guard;
  const model::Denoiser& denoiser = *model.denoiser();
  const std::int64_t scale = model.autoencoder()->facts().downscale;
  require(request.width % scale == 0 && request.height % scale == 0 && request.width > 0 && request.height > 0,
          Fault::kUsage, "a picture of {} x {}: both sides must be multiples of {}", request.width, request.height,
          scale);
  const model::NoiseSchedule schedule(model.noise(), request.zero_terminal_snr);
  require(!schedule.is_flow() || request.sampler == "euler", Fault::kUsage,
          "sampler {} is of models with betas; a flow model takes euler", request.sampler);
  model::SamplingFacts sampling = model.noise().sampling;
  if (request.spacing != "auto") {
    sampling.spacing = request.spacing;
  }
  const std::unique_ptr<ImageSampler> sampler = image_samplers().get("sampler", request.sampler)(
      {.schedule = schedule, .prediction = request.prediction, .steps = request.steps, .sampling = sampling});
  const bool guided = request.guidance != 1.0;
  const at::Device device = model.layers().front().weight.values().device();
  const Conditions conditions = conditions_of(denoiser, request, guided, device);
  const std::vector<std::int64_t> sizes{1, model.autoencoder()->facts().latent_channels, request.height / scale,
                                        request.width / scale};
  const RandomKey key = RandomKey{request.seed}.child("picture");
  const std::int64_t texts = conditions.text.size(0);
  at::Tensor latents = drawn(key.child("start"), sizes).mul_(sampler->initial_scale()).to(device);
  for (std::int64_t step = 0; step < sampler->steps(); ++step) {
    const at::Tensor scaled = latents.mul(sampler->input_scale(step));
    const at::Tensor input = guided ? at::cat({scaled, scaled}) : scaled;
    const at::Tensor timesteps =
        at::full({texts}, sampler->timestep(step), at::TensorOptions(at::kFloat).device(device));
    const at::Tensor output = denoiser
                                  .predict({.latents = input,
                                            .timesteps = timesteps,
                                            .text = conditions.text,
                                            .pooled = conditions.pooled.defined() ? &conditions.pooled : nullptr,
                                            .sizes = conditions.sizes.defined() ? &conditions.sizes : nullptr},
                                           adapter::Pack::solo(adapters, texts))
                                  .to(at::kFloat);
    at::Tensor prediction = output.narrow(0, texts - 1, 1);
    if (guided) {  // away from the negative text
      const at::Tensor away = output.narrow(0, 0, 1);
      prediction = away.add(prediction.sub(away), request.guidance);
    }
    const at::Tensor noise = sampler->takes_noise()
                                 ? drawn(key.child("step").child(static_cast<std::uint64_t>(step)), sizes).to(device)
                                 : at::Tensor();
    latents = sampler->advance(step, latents, prediction, noise);
    if (request.goes_on && !request.goes_on()) {
      return std::nullopt;
    }
  }
  return latents.select(0, 0).cpu();
}

at::Tensor picture_of(const model::Autoencoder& autoencoder, const at::Tensor& latents) {
  const model::AutoencoderFacts& facts = autoencoder.facts();
  const at::Tensor plain = latents.div(facts.scaling).add_(facts.shift).unsqueeze(0);
  return at::clamp(autoencoder.decode(plain).select(0, 0).cpu(), -1.0, 1.0);
}

}  // namespace dormer::inference
