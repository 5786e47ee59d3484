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
        timesteps_(spread_timesteps(request, {})),
        ends_clean_(request.sampling.ends_clean) {
    require(prediction_ != "epsilon" || schedule_.signal(at(0)) > 0.0, Fault::kUsage,
            "sampler ddim: the step that trailing and linspace begin with has no signal here, of which a prediction of "
            "noise tells nothing; take the spacing leading");
  }

  [[nodiscard]] std::int64_t steps() const override { return std::ssize(timesteps_); }
  [[nodiscard]] double timestep(std::int64_t step) const override {
    return timesteps_.at(static_cast<std::size_t>(step));
  }

  [[nodiscard]] at::Tensor advance(std::int64_t step, const at::Tensor& latents, const at::Tensor& prediction,
                                   const at::Tensor& /*noise*/) override {
    const Told told = told_by(prediction_, latents, prediction, schedule_.signal(at(step)), schedule_.noise(at(step)));
    const std::int64_t next = at(step) - stride_;
    if (next < 0 && ends_clean_) {
      return told.clean;
    }
    const std::int64_t step_after = std::max<std::int64_t>(next, 0);
    return told.clean.mul(schedule_.signal(step_after)).add_(told.noise, schedule_.noise(step_after));
  }

 private:
  [[nodiscard]] std::int64_t at(std::int64_t step) const {
    return static_cast<std::int64_t>(timesteps_.at(static_cast<std::size_t>(step)));
  }

  model::NoiseSchedule schedule_;
  std::string prediction_;
  std::int64_t stride_;
  std::vector<double> timesteps_;
  bool ends_clean_;
};

}  // namespace

SamplerFactory ddim() {
  return [](const SamplerRequest& request) -> std::unique_ptr<ImageSampler> { return std::make_unique<Ddim>(request); };
}

}  // namespace dormer::inference::samplers
