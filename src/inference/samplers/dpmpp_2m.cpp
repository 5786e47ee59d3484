#include <cmath>
#include <utility>

#include "inference/sampler_steps.hpp"

namespace dormer::inference::samplers {
namespace {

/// DPM-Solver++ of second order, multistep (Lu et al. 2022): the first and the last step are of first order.
class DpmSolver final : public ImageSampler {
 public:
  explicit DpmSolver(const SamplerRequest& request)
      : prediction_(request.prediction), timesteps_(spread_timesteps(request, {.leaves_least = true})) {
    for (const double timestep : timesteps_) {
      points_.push_back(point_at(sigma_of(request.schedule, timestep)));
    }
  }

  [[nodiscard]] std::int64_t steps() const override { return std::ssize(timesteps_); }
  [[nodiscard]] double timestep(std::int64_t step) const override {
    return timesteps_.at(static_cast<std::size_t>(step));
  }

  [[nodiscard]] at::Tensor advance(std::int64_t step, const at::Tensor& latents, const at::Tensor& prediction,
                                   const at::Tensor& /*noise*/) override {
    const auto index = static_cast<std::size_t>(step);
    const Point& from = points_.at(index);
    const at::Tensor clean = told_by(prediction_, latents, prediction, from.signal, from.noise).clean;
    const at::Tensor before = std::exchange(before_, clean);
    if (index + 1 == points_.size()) {
      return clean;
    }
    const Point& to = points_[index + 1];
    const double width = to.log_ratio - from.log_ratio;
    const double weight = -to.signal * std::expm1(-width);
    at::Tensor result = latents.mul(to.noise / from.noise).add_(clean, weight);
    if (step > 0) {
      const double ratio = (from.log_ratio - points_[index - 1].log_ratio) / width;
      result.add_(clean.sub(before), 0.5 * weight / ratio);
    }
    return result;
  }

 private:
  struct Point {
    double signal;
    double noise;
    double log_ratio;  // of signal over noise
  };
  static Point point_at(double sigma) {
    const double signal = 1.0 / std::sqrt(sigma * sigma + 1.0);
    return {signal, sigma * signal, -std::log(sigma)};
  }

  std::string prediction_;
  std::vector<double> timesteps_;
  std::vector<Point> points_;
  at::Tensor before_;
};

}  // namespace

SamplerFactory dpmpp_2m() {
  return [](const SamplerRequest& request) -> std::unique_ptr<ImageSampler> {
    return std::make_unique<DpmSolver>(request);
  };
}

}  // namespace dormer::inference::samplers
