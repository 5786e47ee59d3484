#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dormer/model/autoencoder.hpp"
#include "dormer/model/denoiser.hpp"
#include "dormer/model/language_model.hpp"
#include "dormer/model/text_encoder.hpp"

namespace dormer::model {

/// The ways to spread a sampler's steps over the schedule: leading, linspace, trailing (Lin et al. 2024, table 2).
[[nodiscard]] std::vector<std::string> timestep_spacings();

/// Which steps of the schedule a sampler takes.
struct SamplingFacts {
  std::string spacing = "leading";  ///< of `timestep_spacings`
  std::int64_t offset = 1;          ///< steps_offset, added to leading timesteps
  bool ends_clean = false;          ///< set_alpha_to_one: before the first step lies no noise, for ddim
};

/// What scheduler/scheduler_config.json says of the noise that the model was trained with, and is sampled with.
struct NoiseFacts {
  std::string prediction = "epsilon";   ///< epsilon | v_prediction | sample | flow
  std::string betas = "scaled_linear";  ///< linear | scaled_linear | squaredcos_cap_v2
  double first_beta = 0.00085;
  double last_beta = 0.012;
  std::int64_t steps = 1000;
  bool zero_terminal_snr = false;  ///< rescale_betas_zero_snr
  double shift = 1.0;              ///< of flow, in place of betas: towards more noise above 1
  SamplingFacts sampling{};
};

/// Which parts of a folder are loaded, and which get sites for adapters.
struct ImageModelRequest {
  std::vector<std::string> train{"unet"};  ///< of denoiser and text encoders, by their folders' names
  Placement placement{};                   ///< of denoiser and text encoders
  DType autoencoder_dtype = DType::kF32;   ///< in fp16 many overflow
  bool denoiser = true;
  bool text_encoders = true;
  bool autoencoder = true;
};

/// The conditions that a denoiser reads of a batch of texts: states of every token [samples, tokens, width], and the
/// pooled one [samples, width] where it takes one.
using TextConditions = std::vector<at::Tensor>;

/// A diffusion model: a folder of diffusers (model_index.json) with denoiser, text encoders and autoencoder. Immutable
/// after loading.
class ImageModel {
 public:
  /// Throws input errors that name a part and everything in it that is not done; usage errors for parts in `train` that
  /// are not there.
  ImageModel(const std::filesystem::path& folder, const ImageModelRequest& request);
  ~ImageModel();
  ImageModel(const ImageModel&) = delete;
  ImageModel& operator=(const ImageModel&) = delete;

  /// The layers of all parts that train, in a fixed order (site.index is the position): denoiser, then text encoders.
  [[nodiscard]] std::span<const adapter::FrozenLayer> layers() const;
  [[nodiscard]] const NoiseFacts& noise() const;
  /// Null where it was not asked for.
  [[nodiscard]] const Denoiser* denoiser() const;
  [[nodiscard]] const Autoencoder* autoencoder() const;
  [[nodiscard]] std::span<const std::unique_ptr<TextEncoder>> text_encoders() const;

  /// The conditions of texts, of which `tokens` has int64 [samples, length] for every text encoder. Stable Diffusion
  /// 1.x and 2.x take the last layer's normed states; XL those of both encoders before the last layer, side by side,
  /// and the second's pooled one. `skipped` layers more are left out.
  [[nodiscard]] TextConditions conditions(std::span<const at::Tensor> tokens, std::int64_t skipped,
                                          const adapter::Pack& pack) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The parts of a folder that adapters can be trained on: the denoiser's, then text encoders'.
[[nodiscard]] std::vector<std::string> trainable_parts(const std::filesystem::path& folder);

/// Reads scheduler_config.json's text (`where` names it). Pure. Throws an input error naming what is not done.
[[nodiscard]] NoiseFacts read_noise_facts(const std::string& text, const std::string& where);

}  // namespace dormer::model
