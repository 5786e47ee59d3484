#pragma once

#include <cstdint>
#include <vector>

#include "dormer/model/image_model.hpp"

namespace dormer::model {

/// How much of a latent and how much noise a step of a variance-preserving diffusion has (Ho et al. 2020): z_t =
/// signal(t) z + noise(t) e with signal² + noise² = 1. Pure numbers.
class NoiseSchedule {
 public:
  /// `zero_terminal_snr` shifts and scales the signal so that the last step has none (Lin et al. 2024, "Common
  /// diffusion noise schedules and sample steps are flawed"), if the facts do not say so already.
  explicit NoiseSchedule(const NoiseFacts& facts, bool zero_terminal_snr = false);

  /// Of rectified flow (Liu et al. 2022; Esser et al. 2024): signal + noise = 1 in their place.
  [[nodiscard]] bool is_flow() const { return flow_; }
  /// Of flow, towards more noise above 1.
  [[nodiscard]] double shift() const { return shift_; }
  /// What the denoiser is told of a step: its number, or of flow the amount of noise, of `steps()`.
  [[nodiscard]] double told(std::int64_t step) const {
    return flow_ ? noise(step) * static_cast<double>(steps()) : static_cast<double>(step);
  }
  [[nodiscard]] std::int64_t steps() const { return static_cast<std::int64_t>(signal_.size()); }
  [[nodiscard]] double signal(std::int64_t step) const { return signal_.at(static_cast<std::size_t>(step)); }
  [[nodiscard]] double noise(std::int64_t step) const { return noise_.at(static_cast<std::size_t>(step)); }
  /// signal² / noise²: 0 at the last step of a schedule with zero terminal SNR.
  [[nodiscard]] double signal_to_noise(std::int64_t step) const;

 private:
  std::vector<double> signal_;
  std::vector<double> noise_;
  bool flow_ = false;
  double shift_ = 1.0;
};

}  // namespace dormer::model
