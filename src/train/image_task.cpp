#include "train/image_task.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>

#include "dormer/cache/encoded_texts.hpp"
#include "dormer/data/image.hpp"
#include "dormer/data/normal_numbers.hpp"
#include "dormer/tensor/differentiable.hpp"

namespace dormer::train {

/// A micro-batch as the objective takes it; owns what it refers to.
class ImageTask::Batch {
 public:
  at::Tensor latents;
  at::Tensor text;
  at::Tensor pooled;         // or undefined
  at::Tensor frozen_text;    // or undefined
  at::Tensor frozen_pooled;  // or undefined
  at::Tensor sizes;          // or undefined
  at::Tensor mask;           // or undefined
  std::vector<RandomKey> keys;
  std::vector<double> weights;
  std::vector<bool> prior;

  [[nodiscard]] objective::DenoiseBatch view() const {
    const auto present = [](const at::Tensor& values) { return values.defined() ? &values : nullptr; };
    return {.latents = latents,
            .text = text,
            .pooled = present(pooled),
            .sizes = present(sizes),
            .mask = present(mask),
            .frozen_text = present(frozen_text),
            .frozen_pooled = present(frozen_pooled),
            .keys = keys,
            .weights = weights,
            .prior = prior};
  }
};

namespace {

at::Tensor as_tensor(const std::vector<std::int64_t>& values) {
  at::Tensor result = at::empty({std::ssize(values)}, at::kLong);
  std::ranges::copy(values, result.mutable_data_ptr<std::int64_t>());
  return result;
}

}  // namespace

ImageTask::ImageTask(Parts parts)
    : parts_(std::move(parts)),
      schedule_(parts_.model->noise(), parts_.settings.zero_terminal_snr),
      groups_(parts_.plan.validation_concepts()) {
  if (groups_.size() == 1) {
    groups_.clear();
  }
}
ImageTask::~ImageTask() = default;

std::int64_t ImageTask::samples() const {
  return parts_.plan.epoch_samples();
}

std::int64_t ImageTask::sample_at(std::int64_t position) const {
  return parts_.plan.at(position).image;
}

std::int64_t ImageTask::validation_samples() const {
  return parts_.plan.validation_samples();
}

std::size_t ImageTask::validation_group(std::int64_t sample) const {
  const std::string name = parts_.plan.concept_of(parts_.plan.validation_at(sample).image).shown_name();
  return static_cast<std::size_t>(std::ranges::find(groups_, name) - groups_.begin());
}

std::vector<ImageSample> ImageTask::samples_of(const SampleRange& samples) const {
  std::vector<ImageSample> result;
  for (std::int64_t index = 0; index < samples.count; ++index) {
    result.push_back(parts_.plan.at(samples.first + index));
  }
  return result;
}

at::Tensor ImageTask::latent_of(const ImageSample& sample) const {
  const std::string key = parts_.encoded.image_key(parts_.plan, sample.image, sample.crop);
  const at::Tensor mean = parts_.store->read(key, "mean");
  const at::Tensor deviation = parts_.store->read(key, "logvar").mul_(0.5).exp_();
  const at::Tensor noise = at::empty(mean.sizes(), mean.options());
  data::draw_normal_numbers(sample.key.child("posterior"),
                            {noise.mutable_data_ptr<float>(), static_cast<std::size_t>(noise.numel())});
  return noise.mul_(deviation).add_(mean).sub_(parts_.encoded.latents.shift).mul_(parts_.encoded.latents.scaling);
}

at::Tensor ImageTask::mask_of(const ImageSample& sample) const {
  const data::ConceptImage& image = parts_.plan.images()[static_cast<std::size_t>(sample.image)];
  const std::int64_t cell = parts_.encoded.latents.downscale;
  if (image.entry.mask.empty()) {
    return at::ones({1, sample.crop.target.height / cell, sample.crop.target.width / cell});
  }
  return data::load_mask(image.entry.mask, sample.crop,
                         {.cell = cell, .unmasked_weight = parts_.plan.concept_of(sample.image).masks.unmasked_weight});
}

std::vector<cache::EncoderTokens> ImageTask::tokens_of(const std::vector<ImageSample>& samples) const {
  std::vector<cache::EncoderTokens> tokens;
  for (const ImageSample& sample : samples) {
    tokens.push_back(cache::tokens_of(sample.caption, parts_.tokenizers, parts_.encoded.text));
  }
  return tokens;
}

void ImageTask::add_adapted_text(const std::vector<ImageSample>& samples, const adapter::Pack& pack,
                                 Batch& batch) const {
  batch.frozen_text = batch.text;
  batch.frozen_pooled = batch.pooled;
  const model::TextConditions found =
      cache::conditions_of(*parts_.model, tokens_of(samples), parts_.encoded.text, pack);
  batch.text = found.at(0);
  batch.pooled = parts_.model->denoiser()->facts().pooled_width > 0 ? found.at(1) : at::Tensor();
}

void ImageTask::add_text(const std::vector<ImageSample>& samples, Batch& batch) const {
  const std::vector<cache::EncoderTokens> tokens = tokens_of(samples);
  const bool stored = !parts_.trains_text && std::ranges::all_of(tokens, [&](const cache::EncoderTokens& each) {
    return parts_.store->contains(parts_.encoded.text_key(each));
  });
  const bool takes_pooled = parts_.model->denoiser()->facts().pooled_width > 0;
  if (!stored) {
    const std::int64_t rows = std::ssize(tokens) * tokens.front().rows;
    const model::TextConditions found =
        cache::conditions_of(*parts_.model, tokens, parts_.encoded.text, adapter::Pack::solo(nullptr, rows));
    batch.text = found.at(0);
    batch.pooled = takes_pooled ? found.at(1) : at::Tensor();
    return;
  }
  std::vector<at::Tensor> states;
  std::vector<at::Tensor> pooled;
  for (const cache::EncoderTokens& each : tokens) {
    const std::string key = parts_.encoded.text_key(each);
    states.push_back(parts_.store->read(key, "states"));
    if (takes_pooled) {
      pooled.push_back(parts_.store->read(key, "pooled"));
    }
  }
  batch.text = cache::with_imported(at::stack(states), tokens, parts_.encoded.text);
  batch.pooled = takes_pooled ? at::stack(pooled) : at::Tensor();
}

ImageTask::Batch ImageTask::batch_of(const std::vector<ImageSample>& samples) const {
  const tensor::NoRecording guard;
  Batch batch;
  std::vector<at::Tensor> latents;
  std::vector<at::Tensor> sizes;
  std::vector<at::Tensor> masks;
  const bool masked = std::ranges::any_of(samples, [&](const ImageSample& sample) {
    return !parts_.plan.images()[static_cast<std::size_t>(sample.image)].entry.mask.empty();
  });
  for (const ImageSample& sample : samples) {
    latents.push_back(latent_of(sample));
    at::Tensor numbers = at::empty({6});
    std::ranges::copy(sample.crop.size_conditioning(), numbers.mutable_data_ptr<float>());
    sizes.push_back(numbers);
    if (masked) {
      masks.push_back(mask_of(sample));
    }
    batch.keys.push_back(sample.key);
    batch.weights.push_back(sample.loss_weight);
    batch.prior.push_back(sample.prior);
  }
  const at::Device device = parts_.model->layers().front().weight.values().device();
  batch.latents = at::stack(latents);
  batch.sizes = parts_.model->denoiser()->facts().size_numbers > 0 ? at::stack(sizes).to(device) : at::Tensor();
  batch.mask = masked ? at::stack(masks) : at::Tensor();
  if (parts_.trains_text && std::ranges::find(batch.prior, true) == batch.prior.end()) {
    return batch;  // nobody asks for the text of frozen encoders
  }
  add_text(samples, batch);
  batch.text = batch.text.to(device);
  batch.pooled = batch.pooled.defined() ? batch.pooled.to(device) : at::Tensor();
  return batch;
}

objective::LossSums ImageTask::loss_of(const std::vector<ImageSample>& samples, const adapter::Pack& pack,
                                       const objective::LossScale& scale) const {
  Batch batch = batch_of(samples);
  if (parts_.trains_text) {
    std::optional<tensor::NoRecording> guard;
    if (!scale.backward) {
      guard.emplace();
    }
    add_adapted_text(samples, pack, batch);
  }
  return objective::denoise_loss(*parts_.model->denoiser(), schedule_, parts_.settings, batch.view(), pack, scale);
}

objective::LossSums ImageTask::loss(const SampleRange& samples, const adapter::Pack& pack,
                                    const objective::LossScale& scale) const {
  return loss_of(samples_of(samples), pack, scale);
}

// Held-out images have sizes of their own: one forward pass for each.
objective::LossSums ImageTask::validation_loss(const SampleRange& samples, const adapter::Pack& pack) const {
  objective::LossSums sums;
  for (std::int64_t index = 0; index < samples.count; ++index) {
    const objective::LossSums one = loss_of({parts_.plan.validation_at(samples.first + index)},
                                            adapter::Pack::solo(pack.segments.front().adapters, 1), {});
    sums.loss_sum += one.loss_sum;
    sums.tokens += one.tokens;
  }
  return sums;
}

bool ImageTask::write_picture(std::int64_t index, const adapter::AdapterSet& adapters,
                              const std::filesystem::path& file, const std::function<bool()>& goes_on) const {
  return train::write_picture({.model = *parts_.model,
                               .prediction = parts_.settings.prediction,
                               .zero_terminal_snr = parts_.settings.zero_terminal_snr},
                              &adapters, parts_.pictures.at(static_cast<std::size_t>(index)), file, goes_on);
}

void ImageTask::visit_arrays(const SampleRange& samples, const ArrayVisitor& visit) const {
  for (std::int64_t index = 0; index < samples.count; ++index) {
    const std::vector<ImageSample> sample{parts_.plan.at(samples.first + index)};
    Batch batch = batch_of(sample);
    if (parts_.trains_text) {
      add_adapted_text(sample, adapter::Pack::solo(nullptr, 1), batch);
    }
    const objective::NoisedBatch noised(parts_.settings, schedule_, batch.view());
    const auto name = [&](const char* what) { return fmt::format("{}.{}", what, index); };
    visit(name("latents"), batch.latents, DType::kF32);
    visit(name("noised"), noised.input(), DType::kF32);
    visit(name("target"), objective::targets_of(*parts_.model->denoiser(), noised, batch.view()), DType::kF32);
    visit(name("timestep"), noised.timesteps(), DType::kF32);
    visit(name("text"), batch.text.to(at::kFloat), DType::kF32);  // of the frozen encoders
    for (std::size_t encoder = 0; parts_.trains_text && encoder < parts_.tokenizers.size(); ++encoder) {
      visit(fmt::format("tokens.{}.{}", encoder, index), as_tensor(tokens_of(sample).front().tokens[encoder]),
            DType::kI64);
    }
    if (batch.pooled.defined()) {
      visit(name("pooled"), batch.pooled.to(at::kFloat), DType::kF32);
    }
    if (batch.sizes.defined()) {
      visit(name("sizes"), batch.sizes, DType::kF32);
    }
  }
}

interop::BaseFacts ImageTask::base_facts() const {
  interop::BaseFacts facts = interop::facts_of(parts_.model->layers(), parts_.folder);
  const model::DenoiserFacts& denoiser = parts_.model->denoiser()->facts();
  facts.family = denoiser.family == "sd3_transformer_2d" ? interop::ModelFamily::kSd3
                 : denoiser.pooled_width > 0             ? interop::ModelFamily::kSdxl
                                                         : interop::ModelFamily::kSd1;
  return facts;
}

std::map<std::string, std::string> ImageTask::fingerprints() const {
  std::map<std::string, std::string> prints{{"data.train", parts_.plan.training_fingerprint()},
                                            {"data.validation", parts_.plan.validation_fingerprint()}};
  if (parts_.encoded.text.imported != nullptr) {
    prints.emplace("text.embeddings", parts_.encoded.text.imported->fingerprint());
  }
  return prints;
}

}  // namespace dormer::train
