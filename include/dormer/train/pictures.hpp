#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/cache/encoded_texts.hpp"
#include "dormer/data/clip_tokenizer.hpp"
#include "dormer/data/prompt_lines.hpp"
#include "dormer/model/image_model.hpp"
#include "dormer/train/image_section.hpp"

namespace dormer::train {

struct PictureTexts;

/// A prompt that is ready to become a picture.
struct Picture {
  data::PromptLine line;  ///< with every setting
  std::string sampler;
  std::string spacing;
  std::shared_ptr<const PictureTexts> texts;  ///< states of prompt and negative text
};

/// The prompts of `samples`, one line each. Input errors name the prompt by its number.
[[nodiscard]] std::vector<data::PromptLine> prompt_lines(const SamplesSection& samples);

/// Encodes the prompts with a model's text encoders; what a line leaves open is that of `settings`.
[[nodiscard]] std::vector<Picture> prepare_pictures(std::span<const data::PromptLine> lines,
                                                    const SamplesSection& settings, const model::ImageModel& model,
                                                    std::span<const data::ClipTokenizer> tokenizers,
                                                    const cache::TextRules& rules);

/// Whether some of the adapters are on text encoders, so that texts are to be encoded with them. They may be null.
[[nodiscard]] bool adapts_texts(const adapter::AdapterSet* adapters);

/// What a denoiser's output is.
struct PictureModel {
  const model::ImageModel& model;  ///< with denoiser and autoencoder
  std::string prediction;          ///< epsilon | v_prediction | sample
  bool zero_terminal_snr = false;
};

/// Makes the picture and writes it as PNG, with its settings in the text chunk "parameters" as WebUIs read it. Adapters
/// may be null. False where `goes_on` (asked after each step; may be empty) said no: nothing is written then. The bytes
/// depend on nothing else than model, adapters and picture.
[[nodiscard]] bool write_picture(const PictureModel& model, const adapter::AdapterSet* adapters, const Picture& picture,
                                 const std::filesystem::path& file, const std::function<bool()>& goes_on = {});

}  // namespace dormer::train
