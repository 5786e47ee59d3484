#include "dormer/train/pictures.hpp"

#include <algorithm>
#include <optional>

#include <fmt/ranges.h>

#include <ATen/core/Tensor.h>

#include "dormer/data/image.hpp"
#include "dormer/inference/image_generation.hpp"
#include "dormer/tensor/differentiable.hpp"

namespace dormer::train {

/// Texts as the frozen encoders have them, and what is needed to have them anew.
struct PictureTexts {
  model::TextConditions prompt;
  model::TextConditions negative;
  cache::EncoderTokens prompt_tokens;
  cache::EncoderTokens negative_tokens;
  cache::TextRules rules;
};

namespace {

/// The lines that WebUIs show beside a picture.
std::string described(const Picture& picture) {
  const data::PromptLine& line = picture.line;
  return fmt::format("{}\nNegative prompt: {}\nSteps: {}, Sampler: {}, CFG scale: {}, Seed: {}, Size: {}x{}",
                     line.prompt, line.negative, *line.steps, picture.sampler, *line.guidance, *line.seed, *line.width,
                     *line.height);
}

model::TextConditions encoded(const model::ImageModel& model, const cache::EncoderTokens& tokens,
                              const cache::TextRules& rules, const adapter::AdapterSet* adapters) {
  return cache::conditions_of(model, {&tokens, 1}, rules, adapter::Pack::solo(adapters, 1));
}

}  // namespace

bool adapts_texts(const adapter::AdapterSet* adapters) {
  return adapters != nullptr && std::ranges::any_of(adapters->site_names(), [](const std::string& name) {
           return name.starts_with("text_encoder");
         });
}

std::vector<data::PromptLine> prompt_lines(const SamplesSection& samples) {
  return data::parse_prompt_lines(fmt::format("{}", fmt::join(samples.prompts, "\n")), "samples.prompts");
}

std::vector<Picture> prepare_pictures(std::span<const data::PromptLine> lines, const SamplesSection& settings,
                                      const model::ImageModel& model, std::span<const data::ClipTokenizer> tokenizers,
                                      const cache::TextRules& rules) {
  const tensor::NoRecording guard;
  std::vector<Picture> pictures;
  for (data::PromptLine line : lines) {
    line.negative = line.negative.empty() ? settings.negative : line.negative;
    line.width = line.width.value_or(settings.width);
    line.height = line.height.value_or(settings.height);
    line.seed = line.seed.value_or(settings.seed);
    line.guidance = line.guidance.value_or(settings.guidance);
    line.steps = line.steps.value_or(settings.steps);
    PictureTexts texts;
    texts.prompt_tokens = cache::tokens_of(line.prompt, tokenizers, rules);
    texts.negative_tokens = cache::tokens_of(line.negative, tokenizers, rules);
    texts.rules = rules;
    texts.prompt = encoded(model, texts.prompt_tokens, rules, nullptr);
    texts.negative = encoded(model, texts.negative_tokens, rules, nullptr);
    pictures.push_back({.line = std::move(line),
                        .sampler = settings.sampler,
                        .spacing = settings.spacing,
                        .texts = std::make_shared<const PictureTexts>(std::move(texts))});
  }
  return pictures;
}

bool write_picture(const PictureModel& model, const adapter::AdapterSet* adapters, const Picture& picture,
                   const std::filesystem::path& file, const std::function<bool()>& goes_on) {
  const tensor::NoRecording guard;
  const data::PromptLine& line = picture.line;
  const PictureTexts& texts = *picture.texts;
  const bool anew = adapts_texts(adapters);
  const std::optional<at::Tensor> latents = inference::generate_latents(
      model.model, adapters,
      {.conditions = anew ? encoded(model.model, texts.prompt_tokens, texts.rules, adapters) : texts.prompt,
       .negative = anew ? encoded(model.model, texts.negative_tokens, texts.rules, adapters) : texts.negative,
       .width = *line.width,
       .height = *line.height,
       .steps = *line.steps,
       .sampler = picture.sampler,
       .spacing = picture.spacing,
       .prediction = model.prediction,
       .guidance = *line.guidance,
       .seed = static_cast<std::uint64_t>(*line.seed),
       .zero_terminal_snr = model.zero_terminal_snr,
       .goes_on = goes_on});
  if (!latents) {
    return false;
  }
  data::write_png(file, inference::picture_of(*model.model.autoencoder(), *latents),
                  {{"parameters", described(picture)}});
  return true;
}

}  // namespace dormer::train
