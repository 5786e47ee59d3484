#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "dormer/cache/array_store.hpp"
#include "dormer/data/clip_tokenizer.hpp"
#include "dormer/model/image_model.hpp"
#include "dormer/objective/denoise.hpp"
#include "dormer/train/pictures.hpp"
#include "train/encoded_parts.hpp"
#include "train/image_plan.hpp"
#include "train/task.hpp"

namespace dormer::train {

/// A diffusion model's denoiser learns to tell noise from the noised latents of captioned images. Latents and, where
/// captions are few, the states of texts are read from the cache.
class ImageTask final : public Task {
 public:
  struct Parts {
    std::shared_ptr<const model::ImageModel> model;
    std::filesystem::path folder;  ///< of the model
    ImagePlan plan;
    objective::DenoiseSettings settings;  ///< its prediction is not auto
    EncodedParts encoded;
    std::unique_ptr<cache::ArrayStore> store;
    std::vector<data::ClipTokenizer> tokenizers;
    bool trains_text = false;         ///< text encoders have adapters; then the model has them
    std::vector<Picture> pictures{};  ///< with any, the model has an autoencoder
  };
  explicit ImageTask(Parts parts);
  ~ImageTask() override;

  [[nodiscard]] std::span<const adapter::FrozenLayer> layers() const override { return parts_.model->layers(); }
  [[nodiscard]] std::int64_t samples() const override;
  [[nodiscard]] std::int64_t sample_at(std::int64_t position) const override;
  [[nodiscard]] std::int64_t targets(const SampleRange& samples) const override { return samples.count; }
  [[nodiscard]] objective::LossSums loss(const SampleRange& samples, const adapter::Pack& pack,
                                         const objective::LossScale& scale) const override;
  [[nodiscard]] std::int64_t validation_samples() const override;
  [[nodiscard]] objective::LossSums validation_loss(const SampleRange& samples,
                                                    const adapter::Pack& pack) const override;
  [[nodiscard]] std::vector<std::string> validation_groups() const override { return groups_; }
  [[nodiscard]] std::size_t validation_group(std::int64_t sample) const override;
  [[nodiscard]] std::int64_t pictures() const override { return std::ssize(parts_.pictures); }
  [[nodiscard]] bool write_picture(std::int64_t index, const adapter::AdapterSet& adapters,
                                   const std::filesystem::path& file,
                                   const std::function<bool()>& goes_on) const override;
  void visit_arrays(const SampleRange& samples, const ArrayVisitor& visit) const override;
  [[nodiscard]] interop::BaseFacts base_facts() const override;
  [[nodiscard]] std::map<std::string, std::string> fingerprints() const override;

 private:
  class Batch;
  [[nodiscard]] std::vector<ImageSample> samples_of(const SampleRange& samples) const;
  [[nodiscard]] Batch batch_of(const std::vector<ImageSample>& samples) const;
  [[nodiscard]] std::vector<cache::EncoderTokens> tokens_of(const std::vector<ImageSample>& samples) const;
  [[nodiscard]] at::Tensor latent_of(const ImageSample& sample) const;
  [[nodiscard]] at::Tensor mask_of(const ImageSample& sample) const;
  void add_text(const std::vector<ImageSample>& samples, Batch& batch) const;
  /// The texts in their place by encoders with adapters, part of the graph where one is recorded.
  void add_adapted_text(const std::vector<ImageSample>& samples, const adapter::Pack& pack, Batch& batch) const;
  [[nodiscard]] objective::LossSums loss_of(const std::vector<ImageSample>& samples, const adapter::Pack& pack,
                                            const objective::LossScale& scale) const;

  Parts parts_;
  model::NoiseSchedule schedule_;
  std::vector<std::string> groups_;  ///< held-out concepts where there are several
};

}  // namespace dormer::train
