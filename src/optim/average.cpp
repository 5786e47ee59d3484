#include "dormer/optim/average.hpp"

#include <algorithm>
#include <utility>

#include <ATen/core/Tensor.h>

#include "optim/slice_parts.hpp"

namespace dormer::optim {
namespace {

class WithAverage final : public Optimizer {
 public:
  WithAverage(std::unique_ptr<Optimizer> inner, const AverageSettings& settings, std::string device)
      : inner_(std::move(inner)),
        settings_(settings),
        device_(std::move(device)),
        average_(zeros_on(inner_->slice().count(), device_)) {}

  [[nodiscard]] ElementRange slice() const override { return inner_->slice(); }

  void update(std::span<float> parameters, std::span<const float> gradients, const UpdateScalars& scalars) override {
    const at::Tensor values = tensor::borrowed(parameters, device_);
    if (scalars.step == scalars.skipped) {
      average_.copy_(values);
      begun_ = true;
    }
    inner_->update(parameters, gradients, scalars);
    const std::int64_t updates = scalars.step - scalars.skipped + 1;
    if (updates % settings_.every == 0) {
      const double keep = average_keep(settings_, updates / settings_.every);
      // Two steps: where a library rounds once for both, it may do so in the middle of an array and not at its end.
      average_.mul_(keep);
      average_.add_(values.mul(1.0 - keep));
    }
  }

  [[nodiscard]] std::vector<StateArray> state() override {
    std::vector<StateArray> arrays = inner_->state();
    arrays.push_back({"average", tensor::span_of(average_)});
    return arrays;
  }
  [[nodiscard]] std::vector<SharedArray> shared_state() override { return inner_->shared_state(); }
  void close_state(bool filled) override {
    begun_ = begun_ || filled;
    inner_->close_state(filled);
  }

  [[nodiscard]] bool averages() const override { return true; }
  void average(std::span<float> parameters) const override {
    if (begun_) {
      tensor::borrowed(parameters, device_).copy_(average_);
    }
  }
  [[nodiscard]] std::size_t state_bytes() const override { return inner_->state_bytes() + average_.nbytes(); }

 private:
  std::unique_ptr<Optimizer> inner_;
  AverageSettings settings_;
  std::string device_;
  at::Tensor average_;
  bool begun_ = false;
};

}  // namespace

double average_keep(const AverageSettings& settings, std::int64_t renewal) {
  const auto n = static_cast<double>(renewal);
  return std::min(settings.decay, (1.0 + n) / (10.0 + n));
}

std::unique_ptr<Optimizer> with_average(std::unique_ptr<Optimizer> inner, const AverageSettings& settings,
                                        const std::string& device) {
  invariant(!inner->averages(), "an average of an average");
  return std::make_unique<WithAverage>(std::move(inner), settings, device);
}

}  // namespace dormer::optim
