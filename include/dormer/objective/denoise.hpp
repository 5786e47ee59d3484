#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/config/visitor.hpp"
#include "dormer/core/random_key.hpp"
#include "dormer/model/denoiser.hpp"
#include "dormer/model/noise_schedule.hpp"
#include "dormer/objective/next_token.hpp"
#include "dormer/tensor/forward.hpp"

namespace dormer::objective {

/// What is taken of the difference d between prediction and target, each with a weight; they are added.
struct LossMix {
  double mse = 1.0;    ///< d²
  double mae = 0.0;    ///< |d|
  double huber = 0.0;  ///< d²/2 up to `huber_delta`, then delta (|d| - delta/2)
  double huber_delta = 1.0;
  double log_cosh = 0.0;  ///< log cosh d
  void describe(config::Visitor& visitor);
};

/// How much a sample counts by the noise that it has.
struct Weighting {
  std::string kind = "constant";  ///< constant | min_snr | debiased | p2
  double gamma = 5.0;             ///< of min_snr and p2
  void describe(config::Visitor& visitor);
};

/// Which steps of the noise schedule samples get.
struct TimestepChoice {
  std::string distribution = "uniform";  ///< uniform | logit_normal | heavy_tail | cos_map
  double minimum = 0.0;                  ///< share of the schedule's steps
  double maximum = 1.0;
  double mean = 0.0;       ///< logit_normal: of the normal variable
  double deviation = 1.0;  ///< logit_normal
  double tail = 1.29;      ///< heavy_tail
  double shift = 1.0;      ///< s t / (1 + (s - 1) t): above 1 towards more noise
  void describe(config::Visitor& visitor);
};

struct DenoiseSettings {
  std::string prediction = "auto";  ///< auto | epsilon | v_prediction | sample: what the model tells
  LossMix loss;
  Weighting weighting;
  TimestepChoice timesteps;
  double offset_noise = 0.0;        ///< of one more normal number for every channel
  double input_perturbation = 0.0;  ///< of one more noise in the model's input, not in the target (Ning et al. 2023)
  bool zero_terminal_snr = false;
  void describe(config::Visitor& visitor);
};

/// Latents of one shape with their conditions, on the host or the model's device.
struct DenoiseBatch {
  const at::Tensor& latents;                  ///< fp32 [samples, channels, height, width], scaled
  const at::Tensor& text;                     ///< [samples, tokens, width]
  const at::Tensor* pooled = nullptr;         ///< as DenoiserInput
  const at::Tensor* sizes = nullptr;          ///< as DenoiserInput
  const at::Tensor* mask = nullptr;           ///< fp32 [samples, 1, height, width]: weights of the differences; null: 1
  const at::Tensor* frozen_text = nullptr;    ///< `text` without adapters, where its encoders have some; null: `text`
  const at::Tensor* frozen_pooled = nullptr;  ///< the same of `pooled`
  std::vector<RandomKey> keys;                ///< one a sample: all that is random about it follows from its key
  std::vector<double> weights{};              ///< one a sample; empty: 1
  std::vector<bool> prior{};  ///< one a sample: its target is what the frozen model predicts; empty: none
};

/// The step of the schedule that a key draws. Pure.
[[nodiscard]] std::int64_t drawn_timestep(const TimestepChoice& choice, std::int64_t steps, RandomKey key);

/// What a sample at this step counts. `prediction` is not auto. Pure.
[[nodiscard]] double weight_of(const Weighting& weighting, const std::string& prediction, double signal_to_noise);

/// Latents under the noise that their keys draw, and what is to be predicted of them; on the host, fp32.
class NoisedBatch {
 public:
  /// `settings.prediction` is not auto.
  NoisedBatch(const DenoiseSettings& settings, const model::NoiseSchedule& schedule, const DenoiseBatch& batch);
  [[nodiscard]] const at::Tensor& input() const;                                 ///< [samples, channels, height, width]
  [[nodiscard]] const at::Tensor& target() const;                                ///< the same
  [[nodiscard]] const at::Tensor& timesteps() const;                             ///< [samples]
  [[nodiscard]] const std::vector<double>& weights() const { return weights_; }  ///< one a sample

 private:
  std::vector<at::Tensor> parts_;  // input, target, timesteps
  std::vector<double> weights_;
};

/// What is to be predicted, on the model's device: the batch's target, and of prior samples what the model predicts
/// without any adapter, so that it keeps what it knows of them (the prior prediction of OneTrainer; DreamBooth's prior
/// preservation with the frozen model in place of pictures that it made).
[[nodiscard]] at::Tensor targets_of(const model::Denoiser& denoiser, const NoisedBatch& noised,
                                    const DenoiseBatch& batch);

/// The loss of predicting what `settings` says of noised latents: for every sample the mean over its elements of the
/// mixed differences, times its weights; `tokens` of the result counts samples. With `scale.backward` its gradient runs
/// back through the denoiser.
[[nodiscard]] LossSums denoise_loss(const model::Denoiser& denoiser, const model::NoiseSchedule& schedule,
                                    const DenoiseSettings& settings, const DenoiseBatch& batch,
                                    const adapter::Pack& pack, const LossScale& scale);

}  // namespace dormer::objective
