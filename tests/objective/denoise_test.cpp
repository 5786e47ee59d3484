#include "dormer/objective/denoise.hpp"

#include <cmath>
#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dormer/data/normal_numbers.hpp"

namespace dormer::objective {
namespace {

using ::testing::DoubleNear;

const model::NoiseSchedule& schedule() {
  static const model::NoiseSchedule value{model::NoiseFacts{}};
  return value;
}

/// Predicts `factor` times its input: a denoiser whose gradient is known.
class Scaling final : public model::Denoiser {
 public:
  explicit Scaling(const at::Tensor& factor) : factor_(factor) {}
  [[nodiscard]] const model::DenoiserFacts& facts() const override { return facts_; }
  [[nodiscard]] at::Tensor predict(const model::DenoiserInput& input, const adapter::Pack& /*pack*/) const override {
    return at::mul(input.latents, factor_);
  }

 private:
  const at::Tensor& factor_;
  model::DenoiserFacts facts_;
};

DenoiseSettings settings_for(const std::string& prediction) {
  DenoiseSettings settings;
  settings.prediction = prediction;
  return settings;
}

std::vector<RandomKey> keys_of(std::int64_t samples) {
  std::vector<RandomKey> keys;
  for (std::int64_t index = 0; index < samples; ++index) {
    keys.push_back(RandomKey{5}.child(static_cast<std::uint64_t>(index)));
  }
  return keys;
}

TEST(NoiseSchedule, KeepsTheVarianceAndEndsWithNoSignalWhereItIsAskedTo) {
  const model::NoiseSchedule rescaled(model::NoiseFacts{}, true);
  EXPECT_EQ(rescaled.signal(999), 0.0);
  EXPECT_EQ(rescaled.signal_to_noise(999), 0.0);
  EXPECT_DOUBLE_EQ(rescaled.signal(0), schedule().signal(0));
  for (const model::NoiseSchedule& each : {schedule(), rescaled}) {
    for (std::int64_t step = 0; step < each.steps(); ++step) {
      EXPECT_NEAR(each.signal(step) * each.signal(step) + each.noise(step) * each.noise(step), 1.0, 1e-15);
    }
  }
}

/// 40,000 numbers: the mean is within 5 / sqrt(n) = 0.025 of 0, the variance within 5 sqrt(2 / n) = 0.036 of 1.
TEST(Noise, IsStandardNormalAndAFunctionOfTheKeyAlone) {
  constexpr std::int64_t kCount = 40'001;
  std::vector<float> values(kCount);
  data::draw_normal_numbers(RandomKey{3}, values);
  double sum = 0.0;
  double squares = 0.0;
  for (const float value : values) {
    sum += value;
    squares += static_cast<double>(value) * value;
  }
  EXPECT_NEAR(sum / kCount, 0.0, 0.025);
  EXPECT_NEAR(squares / kCount, 1.0, 0.036);
  std::vector<float> first(6);
  data::draw_normal_numbers(RandomKey{3}, first);
  EXPECT_TRUE(std::equal(first.begin(), first.end(), values.begin()));
}

/// The share of steps below the middle: within 5 standard deviations of 20,000 draws, 0.018.
TEST(Timesteps, FollowTheirDistribution) {
  const auto share_below = [](const TimestepChoice& choice) {
    std::int64_t below = 0;
    for (std::uint64_t draw = 0; draw < 20'000; ++draw) {
      below += drawn_timestep(choice, 1000, RandomKey{9}.child(draw)) < 500 ? 1 : 0;
    }
    return static_cast<double>(below) / 20'000.0;
  };
  EXPECT_THAT(share_below({}), DoubleNear(0.5, 0.018));
  EXPECT_THAT(share_below({.distribution = "logit_normal"}), DoubleNear(0.5, 0.018));
  // P(normal < -1) = 0.1587.
  EXPECT_THAT(share_below({.distribution = "logit_normal", .mean = 1.0}), DoubleNear(0.1587, 0.018));
  // t -> 3t / (1 + 2t) is below 1/2 for t below 1/4.
  EXPECT_THAT(share_below({.shift = 3.0}), DoubleNear(0.25, 0.018));
  EXPECT_EQ(share_below({.minimum = 0.5}), 0.0);
  EXPECT_EQ(share_below({.maximum = 0.5}), 1.0);
}

TEST(Weights, AreThoseOfTheirPapers) {
  const Weighting snr{.kind = "min_snr", .gamma = 5.0};
  EXPECT_DOUBLE_EQ(weight_of(snr, "epsilon", 20.0), 0.25);
  EXPECT_DOUBLE_EQ(weight_of(snr, "epsilon", 2.0), 1.0);
  EXPECT_DOUBLE_EQ(weight_of(snr, "v_prediction", 4.0), 0.8);
  EXPECT_DOUBLE_EQ(weight_of(snr, "v_prediction", 0.0), 0.0);
  EXPECT_DOUBLE_EQ(weight_of({.kind = "debiased"}, "epsilon", 4.0), 0.5);
  EXPECT_DOUBLE_EQ(weight_of({.kind = "debiased"}, "v_prediction", 3.0), 0.5);
  EXPECT_DOUBLE_EQ(weight_of({.kind = "p2", .gamma = 0.5}, "epsilon", 3.0), 0.5);
  EXPECT_DOUBLE_EQ(weight_of({}, "epsilon", 3.0), 1.0);
}

/// z_t = signal z + noise e, of which the prediction gives the noise back: e = (z_t - signal z) / noise.
TEST(Noised, TargetsGiveTheLatentsBack) {
  const at::Tensor latents = at::arange(2 * 4 * 3 * 5, at::kFloat).view({2, 4, 3, 5}).mul_(0.02).sub_(1.0);
  const at::Tensor text = at::zeros({2, 1, 1});
  const DenoiseBatch batch{.latents = latents, .text = text, .keys = keys_of(2)};
  const NoisedBatch noise(settings_for("epsilon"), schedule(), batch);
  const NoisedBatch velocity(settings_for("v_prediction"), schedule(), batch);
  const NoisedBatch sample(settings_for("sample"), schedule(), batch);
  EXPECT_TRUE(sample.target().equal(latents));
  EXPECT_TRUE(noise.input().equal(velocity.input()));
  for (std::int64_t index = 0; index < 2; ++index) {
    const auto step = static_cast<std::int64_t>(noise.timesteps().const_data_ptr<float>()[index]);
    const double a = schedule().signal(step);
    const double b = schedule().noise(step);
    const at::Tensor z = latents.select(0, index);
    const at::Tensor e = noise.target().select(0, index);
    // Numbers up to 4 in a sum of two products: 4 roundings of 2^-24, 1e-6.
    EXPECT_LT(noise.input().select(0, index).sub(z.mul(a).add(e.mul(b))).abs().max().item<float>(), 2e-6);
    EXPECT_LT(velocity.target().select(0, index).sub(e.mul(a).sub(z.mul(b))).abs().max().item<float>(), 2e-6);
  }
}

TEST(Noised, DoesNotDependOnWhichSamplesShareABatch) {
  const at::Tensor latents = at::ones({3, 4, 2, 2});
  const at::Tensor text = at::zeros({3, 1, 1});
  DenoiseSettings settings = settings_for("epsilon");
  settings.offset_noise = 0.1;
  settings.input_perturbation = 0.1;
  const std::vector<RandomKey> keys = keys_of(3);
  const NoisedBatch together(settings, schedule(), {.latents = latents, .text = text, .keys = keys});
  const at::Tensor last = latents.narrow(0, 2, 1);
  const NoisedBatch alone(settings, schedule(), {.latents = last, .text = text, .keys = {keys[2]}});
  EXPECT_TRUE(together.input().select(0, 2).equal(alone.input().select(0, 0)));
  EXPECT_TRUE(together.target().select(0, 2).equal(alone.target().select(0, 0)));
  EXPECT_FALSE(together.target().select(0, 0).equal(together.target().select(0, 1)));
}

/// The slope of the loss by the denoiser's factor against central differences, with weights and a mask; the absolute
/// value, which has kinks, by its definition below.
TEST(DenoiseLoss, HasTheGradientOfItsValue) {
  const at::Tensor latents = at::arange(2 * 4 * 2 * 3, at::kFloat).view({2, 4, 2, 3}).mul_(0.05).sub_(1.0);
  const at::Tensor text = at::zeros({2, 1, 1});
  const at::Tensor mask = at::arange(12, at::kFloat).view({2, 1, 2, 3}).mul_(0.1);
  DenoiseSettings settings = settings_for("v_prediction");
  settings.loss = {.mse = 0.5, .huber = 0.7, .huber_delta = 0.4, .log_cosh = 0.6};
  settings.weighting = {.kind = "min_snr"};
  const DenoiseBatch batch{.latents = latents, .text = text, .mask = &mask, .keys = keys_of(2), .weights = {1.0, 2.5}};
  at::Tensor factor = at::ones({1}).mul_(0.9).set_requires_grad(true);
  const Scaling denoiser(factor);
  const auto loss_at = [&](double value) {
    const at::Tensor moved = at::ones({1}).mul_(value);
    return denoise_loss(Scaling(moved), schedule(), settings, batch, {}, {}).loss_sum;
  };
  const LossSums sums = denoise_loss(denoiser, schedule(), settings, batch, {}, {.divisor = 2.0, .backward = true});
  EXPECT_EQ(sums.tokens, 2);
  // fp32 losses near 1 differ by 1e-7, their difference over 2e-2 by 1e-5.
  const double slope = (loss_at(0.91) - loss_at(0.89)) / 0.02 / 2.0;
  EXPECT_NEAR(factor.grad().item<double>(), slope, 1e-3 * std::abs(slope) + 1e-5);
}

/// Predicts its input times 0.5 without adapters, and times a factor with one.
class Adapted final : public model::Denoiser {
 public:
  explicit Adapted(const at::Tensor& factor) : factor_(factor) {}
  [[nodiscard]] const model::DenoiserFacts& facts() const override { return facts_; }
  [[nodiscard]] at::Tensor predict(const model::DenoiserInput& input, const adapter::Pack& pack) const override {
    return pack.segments.empty() ? at::mul(input.latents, factor_) : input.latents.mul(0.5);
  }

 private:
  const at::Tensor& factor_;
  model::DenoiserFacts facts_;
};

/// A prior sample differs from what the frozen model says by (factor - 0.5) times its input, whatever noise was drawn.
TEST(DenoiseLoss, TakesTheFrozenModelsPredictionForPriorSamples) {
  const at::Tensor latents = at::arange(3 * 24, at::kFloat).view({3, 4, 2, 3}).mul_(0.02);
  const at::Tensor text = at::zeros({3, 1, 1});
  const DenoiseSettings settings = settings_for("epsilon");
  DenoiseBatch batch{.latents = latents, .text = text, .keys = keys_of(3), .weights = {1.0, 2.0, 0.0}};
  const NoisedBatch made(settings, schedule(), batch);
  at::Tensor factor = at::ones({1}).mul_(0.8).set_requires_grad(true);
  const Adapted denoiser(factor);
  const double first = made.input()[0].mul(0.8).sub(made.target()[0]).to(at::kDouble).square().mean().item<double>();
  const double second = made.input()[1].to(at::kDouble).square().mean().item<double>();
  batch.prior = {false, true, false};
  const LossSums sums = denoise_loss(denoiser, schedule(), settings, batch, {}, {.divisor = 1.0, .backward = true});
  EXPECT_NEAR(sums.loss_sum, first + 2.0 * 0.09 * second, 1e-6 * sums.loss_sum);
  const double slope =
      made.input()[0].mul(0.8).sub(made.target()[0]).mul(made.input()[0]).mul(2.0).mean().item<double>() +
      2.0 * 2.0 * 0.3 * second;  // the frozen model's part has no gradient
  EXPECT_NEAR(factor.grad().item<double>(), slope, 1e-5 * std::abs(slope));
}

TEST(DenoiseLoss, TakesTheMeanAbsoluteDifferenceAndItsSign) {
  const at::Tensor latents = at::arange(24, at::kFloat).view({1, 4, 2, 3}).mul_(0.05);
  const at::Tensor text = at::zeros({1, 1, 1});
  DenoiseSettings settings = settings_for("epsilon");
  settings.loss = {.mse = 0.0, .mae = 2.0};
  const DenoiseBatch batch{.latents = latents, .text = text, .keys = keys_of(1)};
  const NoisedBatch made(settings, schedule(), batch);
  at::Tensor factor = at::ones({1}).set_requires_grad(true);
  const LossSums sums =
      denoise_loss(Scaling(factor), schedule(), settings, batch, {}, {.divisor = 1.0, .backward = true});
  const at::Tensor difference = made.input().sub(made.target()).to(at::kDouble);
  // Sums of 24 numbers of fp32.
  EXPECT_NEAR(sums.loss_sum, 2.0 * difference.abs().mean().item<double>(), 1e-6);
  EXPECT_NEAR(factor.grad().item<double>(), 2.0 * difference.sign().mul(made.input()).mean().item<double>(), 1e-6);
}

}  // namespace
}  // namespace dormer::objective
