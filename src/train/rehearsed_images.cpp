#include <algorithm>
#include <memory>
#include <optional>
#include <string_view>

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "dormer/cache/encoded_texts.hpp"
#include "dormer/data/concept_scan.hpp"
#include "dormer/model/image_model.hpp"
#include "dormer/model/model_folder.hpp"
#include "dormer/model/noise_schedule.hpp"
#include "dormer/objective/denoise.hpp"
#include "dormer/storage/safetensors.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/rehearsal.hpp"
#include "dormer/train/pictures.hpp"
#include "train/encoded_parts.hpp"
#include "train/image_folder.hpp"
#include "train/image_plan.hpp"
#include "train/rehearsed_model.hpp"

namespace dormer::train {
namespace {

constexpr std::int64_t kTokensOfPiece = 75;

class RehearsedImages final : public RehearsedModel {
 public:
  RehearsedImages(const RunConfig& config, const std::filesystem::path& folder, DType dtype)
      : config_(config), folder_(folder), dtype_(dtype) {
    const EncodedParts parts = encoded_parts(config, folder, dtype);
    latents_ = parts.latents;
    const data::BadFiles policy =
        config.data.images.bad_files == "refuse" ? data::BadFiles::kRefuse : data::BadFiles::kSkip;
    plan_.emplace(config, data::scan_concepts(config.data.images.concepts, policy), latents_.downscale);
    model_ = std::make_unique<model::ImageModel>(
        folder, request(/*denoiser=*/true, plan_->encodes_texts(), config.samples.wanted()));
    settings_ = config.objective.denoise;
    if (settings_.prediction == "auto") {
      settings_.prediction = model_->noise().prediction;
    }
    if (!config.text.embeddings.empty()) {
      const cache::ImportedStates imported(config.text.embeddings);
      imported.require_suited(model_->denoiser()->facts());
      further_tokens_ = imported.tokens();
    }
    schedule_.emplace(model_->noise(), settings_.zero_terminal_snr);
    for (const ImagePlan::Cut& cut : plan_->all_cuts()) {
      if (area(cut.crop.target) > area(largest_)) {
        largest_ = cut.crop.target;
      }
    }
  }

  [[nodiscard]] std::span<const adapter::FrozenLayer> layers() const override { return model_->layers(); }
  [[nodiscard]] std::string description() const override {
    return fmt::format("{}, {} layers", model_->denoiser()->facts().family, model_->layers().size());
  }
  [[nodiscard]] std::int64_t mapped_bytes() const override {
    return mapped_in(model::denoiser_part(folder_).c_str(), dtype_) + (plan_->encodes_texts() ? mapped_texts() : 0) +
           (config_.samples.wanted() ? mapped_in("vae", autoencoder_dtype()) : 0);
  }
  [[nodiscard]] PlannedData open_data() override {
    return {.samples = plan_->epoch_samples(), .tokens = 0, .documents = false, .summary = plan_->summary()};
  }
  void validate(const adapter::AdapterSet& adapters) const override {
    const tensor::NoRecording guard;
    pass(1, adapter::Pack::solo(&adapters, 1), {});
  }
  void micro_batch(const adapter::Pack& pack) const override {
    pass(config_.batch.micro, pack, {.divisor = 1.0, .backward = true, .recompute_blocks = config_.run.recompute});
  }

  [[nodiscard]] std::int64_t picture_bytes(const adapter::AdapterSet& adapters) const override {
    if (!config_.samples.wanted()) {
      return 0;
    }
    std::int64_t most = 0;
    for (const data::PromptLine& line : prompt_lines(config_.samples)) {
      const std::int64_t width = line.width.value_or(config_.samples.width);
      const std::int64_t height = line.height.value_or(config_.samples.height);
      const std::int64_t texts = line.guidance.value_or(config_.samples.guidance) == 1.0 ? 1 : 2;
      const tensor::NoRecording guard;
      const Meter meter;
      const Conditions conditions = conditions_of(texts);
      static_cast<void>(
          model_->denoiser()->predict({.latents = latents_of(texts, {width, height}, tensor::kShapesDevice),
                                       .timesteps = shapes({texts}),
                                       .text = conditions.text,
                                       .pooled = conditions.pooled_or_none(),
                                       .sizes = conditions.sizes_or_none()},
                                      adapter::Pack::solo(&adapters, texts)));
      static_cast<void>(model_->autoencoder()->decode(latents_of(1, {width, height}, tensor::kShapesDevice)));
      most = std::max(most, meter.peak());
    }
    return most;
  }

  // Texts first, then images, each with their own part of the model.
  [[nodiscard]] std::int64_t encoding_bytes(bool gpu) const override {
    const tensor::NoRecording guard;
    std::int64_t most = 0;
    {
      const Meter meter;
      const model::ImageModel texts(folder_, request(false, true, false));
      std::vector<at::Tensor> tokens;
      for (const auto& encoder : texts.text_encoders()) {
        tokens.push_back(at::zeros({pieces(), encoder->facts().positions}, at::kLong));
      }
      static_cast<void>(texts.conditions(tokens, config_.text.clip_skip, adapter::Pack::solo(nullptr, pieces())));
      most = meter.peak() - (gpu ? 0 : mapped_texts());
    }
    {
      const Meter meter;
      const model::ImageModel images(folder_, request(false, false, true));
      static_cast<void>(images.autoencoder()->encode(shapes({1, 3, largest_.height, largest_.width})));
      most = std::max(most, meter.peak() - (gpu ? 0 : mapped_in("vae", autoencoder_dtype())));
    }
    return most;
  }

 private:
  struct Conditions {
    at::Tensor text;
    at::Tensor pooled;
    at::Tensor sizes;
    [[nodiscard]] const at::Tensor* pooled_or_none() const { return pooled.defined() ? &pooled : nullptr; }
    [[nodiscard]] const at::Tensor* sizes_or_none() const { return sizes.defined() ? &sizes : nullptr; }
  };

  static std::int64_t area(const data::ImageSize& size) { return size.width * size.height; }
  static at::Tensor shapes(at::IntArrayRef sizes) {
    return at::empty(sizes, at::TensorOptions(at::kFloat).device(tensor::kShapesDevice));
  }
  [[nodiscard]] DType autoencoder_dtype() const { return dtype_from_name(config_.model.vae_dtype).value(); }
  /// Of a part's arrays, those that stay mapped where they are computed with in `dtype`.
  [[nodiscard]] std::int64_t mapped_in(const char* part, DType dtype) const {
    const std::filesystem::path place = folder_ / part;
    if (!std::filesystem::exists(place / "config.json")) {
      return 0;
    }
    const bool encoder = std::string_view(part).starts_with("text_encoder");
    const auto files = storage::SafetensorsSet::open_folder(place, encoder ? "model" : "diffusion_pytorch_model");
    std::int64_t bytes = 0;
    for (const auto& file : files.files()) {
      for (const storage::TensorEntry& entry : file->tensors()) {
        bytes += entry.dtype == dtype && file->lends(entry) ? static_cast<std::int64_t>(entry.end - entry.begin) : 0;
      }
    }
    return bytes;
  }
  [[nodiscard]] std::int64_t mapped_texts() const {
    return mapped_in("text_encoder", dtype_) + mapped_in("text_encoder_2", dtype_);
  }
  [[nodiscard]] std::int64_t pieces() const { return config_.text.max_tokens / kTokensOfPiece; }

  [[nodiscard]] model::ImageModelRequest request(bool denoiser, bool texts, bool autoencoder) const {
    return {.train = denoiser ? config_.model.train : std::vector<std::string>{},
            .placement = {dtype_, tensor::kShapesDevice},
            .autoencoder_dtype = autoencoder_dtype(),
            .denoiser = denoiser,
            .text_encoders = texts,
            .autoencoder = autoencoder};
  }

  [[nodiscard]] at::Tensor latents_of(std::int64_t samples, const data::ImageSize& size, const char* device) const {
    return at::zeros(
        {samples, latents_.latent_channels, size.height / latents_.downscale, size.width / latents_.downscale},
        at::TensorOptions(at::kFloat).device(device));
  }

  [[nodiscard]] Conditions conditions_of(std::int64_t samples) const {
    const model::DenoiserFacts& facts = model_->denoiser()->facts();
    Conditions conditions{shapes({samples, kTokensOfPiece * pieces() + 2 + further_tokens_.value_or(facts.empty_tokens),
                                  facts.text_width}),
                          {},
                          {}};
    if (facts.pooled_width > 0) {
      conditions.pooled = shapes({samples, facts.pooled_width});
    }
    if (facts.size_numbers > 0) {
      conditions.sizes = shapes({samples, facts.size_numbers});
    }
    return conditions;
  }

  /// Texts by encoders with adapters, part of the graph where one is recorded.
  [[nodiscard]] Conditions adapted_conditions(std::int64_t samples, const adapter::Pack& pack, bool recorded) const {
    Conditions conditions = conditions_of(samples);
    cache::EncoderTokens tokens;
    tokens.rows = pieces();
    for (const auto& encoder : model_->text_encoders()) {
      tokens.tokens.emplace_back(static_cast<std::size_t>(pieces() * encoder->facts().positions));
    }
    const std::vector<cache::EncoderTokens> texts(static_cast<std::size_t>(samples), tokens);
    std::optional<tensor::NoRecording> guard;
    if (!recorded) {
      guard.emplace();
    }
    const model::TextConditions found = cache::conditions_of(
        *model_, texts, {.skipped_layers = config_.text.clip_skip, .max_tokens = config_.text.max_tokens}, pack);
    conditions.text = found.at(0);
    if (further_tokens_) {  // as cache::with_imported puts them behind
      const std::int64_t width = model_->denoiser()->facts().text_width;
      const at::Tensor imported = at::zeros({samples, *further_tokens_, width}, conditions.text.options());
      conditions.text =
          at::cat({at::constant_pad_nd(conditions.text, {0, width - conditions.text.size(2)}), imported}, 1);
    }
    conditions.pooled = conditions.pooled.defined() ? found.at(1) : at::Tensor();
    return conditions;
  }

  void pass(std::int64_t samples, const adapter::Pack& pack, const objective::LossScale& scale) const {
    const Conditions conditions =
        config_.model.trains_text() ? adapted_conditions(samples, pack, scale.backward) : conditions_of(samples);
    const at::Tensor latents = latents_of(samples, largest_, "cpu");
    const std::vector<RandomKey> keys(static_cast<std::size_t>(samples));
    const std::vector<double> weights(static_cast<std::size_t>(samples), 1.0);
    static_cast<void>(objective::denoise_loss(*model_->denoiser(), *schedule_, settings_,
                                              {.latents = latents,
                                               .text = conditions.text,
                                               .pooled = conditions.pooled_or_none(),
                                               .sizes = conditions.sizes_or_none(),
                                               .keys = keys,
                                               .weights = weights},
                                              pack, scale));
  }

  const RunConfig& config_;
  std::filesystem::path folder_;
  DType dtype_;
  model::AutoencoderFacts latents_;
  std::optional<ImagePlan> plan_;
  std::unique_ptr<model::ImageModel> model_;
  objective::DenoiseSettings settings_;
  std::optional<model::NoiseSchedule> schedule_;
  data::ImageSize largest_{};
  std::optional<std::int64_t> further_tokens_{};  ///< of imported states
};

}  // namespace

std::unique_ptr<RehearsedModel> rehearse_image_model(const RunConfig& config, const std::filesystem::path& folder,
                                                     DType dtype) {
  return std::make_unique<RehearsedImages>(config, folder, dtype);
}

}  // namespace dormer::train
