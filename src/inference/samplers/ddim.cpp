#include <algorithm>

#include "inference/sampler_steps.hpp"

namespace dormer::inference::samplers {
namespace {

/// DDIM without noise of its own (Song et al. 2021): the told noise, in the amount of the next timestep.
class Ddim final : public ImageSampler {
 public:
  explicit Ddim(const SamplerRequest& request)
      : schedule_(request.schedule),
        prediction_(request.prediction),
        stride_(request.schedule.steps() / std::max<std::int64_t>(request.steps, 1)),
        timesteps_(leading_timesteps(request.schedule, request.steps, stride_)) {}

  [[nodiscard]] std::int64_t steps() const override { return std::ssize(timesteps_); }
  [[nodiscard]] double timestep(std::int64_t step) const override { return static_cast<double>(at(step)); }

  [[nodiscard]] at::Tensor advance(std::int64_t step, const at::Tensor& latents, const at::Tensor& prediction,
                                   const at::Tensor& /*noise*/) override {
    const Told told = told_by(prediction_, latents, prediction, schedule_.signal(at(step)), schedule_.noise(at(step)));
    const std::int64_t next = std::max<std::int64_t>(at(step) - stride_, 0);  // the last goes to the first timestep
    return told.clean.mul(schedule_.signal(next)).add_(told.noise, schedule_.noise(next));
  }

 private:
  [[nodiscard]] std::int64_t at(std::int64_t step) const { return timesteps_.at(static_cast<std::size_t>(step)); }

  model::NoiseSchedule schedule_;
  std::string prediction_;
  std::int64_t stride_;
  std::vector<std::int64_t> timesteps_;
};

}  // namespace

SamplerFactory ddim() {
  return [](const SamplerRequest& request) -> std::unique_ptr<ImageSampler> { return std::make_unique<Ddim>(request); };
}

}  // namespace dormer::inference::samplers
