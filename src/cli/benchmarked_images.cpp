#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>

#include "cli/benchmarked_model.hpp"
#include "dormer/core/error.hpp"
#include "dormer/model/image_model.hpp"
#include "dormer/model/model_folder.hpp"
#include "dormer/model/noise_schedule.hpp"
#include "dormer/objective/denoise.hpp"
#include "dormer/tensor/differentiable.hpp"

namespace dormer::cli {
namespace {

constexpr std::int64_t kPixelsOfLatent = 8;  // of the autoencoders of Stable Diffusion, which is not read
constexpr std::int64_t kTextTokens = 77;

/// The floor: the frozen denoiser's forward pass.
class BenchmarkedImages final : public BenchmarkedModel {
 public:
  BenchmarkedImages(const BenchmarkWork& work, const std::filesystem::path& folder, const std::string& device)
      : samples_(work.samples),
        model_(folder, {.train = {model::denoiser_part(folder)},
                        .placement = {.dtype = work.dtype, .device = device},
                        .text_encoders = false,
                        .autoencoder = false}),
        schedule_(model_.noise()) {
    const model::DenoiserFacts& facts = model_.denoiser()->facts();
    require(work.resolution % (kPixelsOfLatent * facts.latent_multiple) == 0, Fault::kUsage,
            "--resolution: this model takes multiples of {} pixels, not {}", kPixelsOfLatent * facts.latent_multiple,
            work.resolution);
    settings_.prediction = model_.noise().prediction;
    const std::int64_t side = work.resolution / kPixelsOfLatent;
    const at::TensorOptions place = at::TensorOptions(at::kFloat).device(at::Device(device));
    latents_ = at::randn({samples_, facts.latent_channels, side, side}, at::kFloat);
    text_ = at::randn({samples_, kTextTokens + facts.empty_tokens, facts.text_width}, place);
    if (facts.pooled_width > 0) {
      pooled_ = at::randn({samples_, facts.pooled_width}, place);
    }
    if (facts.size_numbers > 0) {
      sizes_ = at::empty({samples_, facts.size_numbers}, place).fill_(static_cast<double>(work.resolution));
    }
  }

  [[nodiscard]] std::span<const adapter::FrozenLayer> layers() const override { return model_.layers(); }
  [[nodiscard]] std::string targets() const override { return "attention-mlp"; }
  [[nodiscard]] std::string unit() const override { return "images"; }
  [[nodiscard]] std::int64_t amount() const override { return samples_; }
  [[nodiscard]] std::string floor_name() const override { return "forward"; }

  void floor() const override {
    const tensor::NoRecording guard;
    static_cast<void>(objective::denoise_loss(*model_.denoiser(), schedule_, settings_, batch(),
                                              adapter::Pack::solo(nullptr, samples_), {}));
  }

  void draw(std::int64_t step) override {
    keys_.clear();
    for (std::int64_t sample = 0; sample < samples_; ++sample) {
      keys_.push_back(RandomKey{7}.child("benchmark").child(static_cast<std::uint64_t>(step * samples_ + sample)));
    }
  }

  [[nodiscard]] objective::LossSums loss(const adapter::Pack& pack) const override {
    return objective::denoise_loss(*model_.denoiser(), schedule_, settings_, batch(), pack,
                                   {.divisor = static_cast<double>(samples_), .backward = true});
  }

 private:
  [[nodiscard]] objective::DenoiseBatch batch() const {
    return {.latents = latents_,
            .text = text_,
            .pooled = pooled_.defined() ? &pooled_ : nullptr,
            .sizes = sizes_.defined() ? &sizes_ : nullptr,
            .keys = keys_};
  }

  std::int64_t samples_;
  model::ImageModel model_;
  model::NoiseSchedule schedule_;
  objective::DenoiseSettings settings_{};
  at::Tensor latents_{};
  at::Tensor text_{};
  at::Tensor pooled_{};
  at::Tensor sizes_{};
  std::vector<RandomKey> keys_{};
};

}  // namespace

std::unique_ptr<BenchmarkedModel> benchmarked_images(const BenchmarkWork& work, const std::string& device) {
  return std::make_unique<BenchmarkedImages>(work, model::resolve_model_or_pipeline(work.model), device);
}

std::unique_ptr<BenchmarkedModel> load_benchmarked_model(const BenchmarkWork& work, const std::string& device) {
  const bool images = model::is_pipeline(model::resolve_model_or_pipeline(work.model));
  return images ? benchmarked_images(work, device) : benchmarked_text(work, device);
}

}  // namespace dormer::cli
