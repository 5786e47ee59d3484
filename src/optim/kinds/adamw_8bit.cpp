#include <algorithm>

#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>

#include "dormer/kernels/optimizers.hpp"
#include "dormer/optim/optimizer.hpp"
#include "dormer/tensor/device_kernels.hpp"
#include "optim/adamw_step.hpp"
#include "optim/slice_parts.hpp"

namespace dormer::optim::kinds {
namespace {

using kernels::kMomentBlock;
using kernels::MomentCode;

/// The moments of a slice in one byte each, and the largest magnitude of every 256 of them. Blocks are counted from
/// the begin of the flat space, so that slices of whole norm blocks do not cut them.
class CodedMoments {
 public:
  CodedMoments(MomentCode code, ElementRange slice, const std::string& device, RandomKey key)
      : code_(code),
        slice_(slice),
        key_(key),
        codes_(at::full({slice.count()}, code == MomentCode::kFirst ? 128 : 0,
                        at::TensorOptions(at::kByte).device(at::Device(device)))),
        largest_(zeros_on((slice.count() + kMomentBlock - 1) / kMomentBlock, device)) {}

  void decode(ElementRange part, std::span<float> values) const {
    tensor::kernels_for(largest_).run(
        kernels::DecodeMomentsArguments{
            .codes = codes(part), .largest = largest(part), .values = values.data(), .code = code_},
        part.count());
  }

  /// `step` counts the random words' draws; absent: the nearest codes.
  void encode(ElementRange part, std::span<const float> values, std::optional<std::int64_t> step) {
    const RandomKey key = key_.child(static_cast<std::uint64_t>(step.value_or(0)));
    const kernels::EncodeMomentsArguments arguments{
        .values = values.data(),
        .codes = codes(part),
        .largest = largest(part),
        .size = part.count(),
        .width = kMomentBlock,
        .key = key.value,
        .first_quad = static_cast<std::uint64_t>((slice_.begin + part.begin) / 4),
        .code = code_,
        .nearest = !step.has_value()};
    tensor::kernels_for(largest_).run(arguments, (part.count() + kMomentBlock - 1) / kMomentBlock);
  }

  [[nodiscard]] std::size_t bytes() const { return codes_.nbytes() + largest_.nbytes(); }

 private:
  [[nodiscard]] std::uint8_t* codes(ElementRange part) const {
    return codes_.mutable_data_ptr<std::uint8_t>() + part.begin;
  }
  [[nodiscard]] float* largest(ElementRange part) const {
    return tensor::span_of(largest_).data() + part.begin / kMomentBlock;
  }

  MomentCode code_;
  ElementRange slice_;
  RandomKey key_;
  at::Tensor codes_;
  at::Tensor largest_;
};

/// AdamW over a slice, its moments in eight bits (docs/adr/0023-moments-in-eight-bits.md). A checkpoint holds them as
/// the numbers that the codes stand for, which find the same codes again.
class AdamW8Bit final : public Optimizer {
 public:
  explicit AdamW8Bit(OptimizerInputs inputs)
      : settings_(inputs.settings),
        groups_(std::move(inputs.groups)),
        slice_(inputs.slice),
        device_(inputs.device),
        first_(MomentCode::kFirst, slice_, device_, inputs.key.child("first moments")),
        second_(MomentCode::kSecond, slice_, device_, inputs.key.child("second moments")) {
    invariant(slice_.begin % kMomentBlock == 0, "a slice begins at element {}, within a block of moments",
              slice_.begin);
  }

  [[nodiscard]] ElementRange slice() const override { return slice_; }

  void update(std::span<float> parameters, std::span<const float> gradients, const UpdateScalars& scalars) override {
    require_slice(slice_, parameters, gradients);
    const at::Tensor first = zeros_on(std::min(kPart, slice_.count()), device_);
    const at::Tensor second = zeros_on(std::min(kPart, slice_.count()), device_);
    for (std::int64_t begin = 0; begin < slice_.count(); begin += kPart) {
      const ElementRange part{begin, std::min(begin + kPart, slice_.count())};
      const std::span<float> firsts = tensor::span_of(first);
      const std::span<float> seconds = tensor::span_of(second);
      first_.decode(part, firsts);
      second_.decode(part, seconds);
      const ElementRange whole{slice_.begin + part.begin, slice_.begin + part.end};
      for_groups(groups_, slice_, whole, [&](ElementRange run, const ParameterGroup& group) {
        if (trains(group, scalars)) {
          const std::int64_t offset = run.begin - part.begin;
          tensor::kernels_for(first).run(
              kernels::AdamWArguments{parameters.data() + run.begin, firsts.data() + offset, seconds.data() + offset,
                                      gradients.data() + run.begin, adamw_step(settings_, group, scalars)},
              run.count());
        }
      });
      first_.encode(part, firsts, scalars.step);
      second_.encode(part, seconds, scalars.step);
    }
  }

  [[nodiscard]] std::vector<StateArray> state() override {
    decoded_ = {zeros_on(slice_.count(), device_), zeros_on(slice_.count(), device_)};
    const ElementRange all{0, slice_.count()};
    if (all.count() > 0) {
      first_.decode(all, tensor::span_of(decoded_[0]));
      second_.decode(all, tensor::span_of(decoded_[1]));
    }
    return {{"first", tensor::span_of(decoded_[0])}, {"second", tensor::span_of(decoded_[1])}};
  }

  void close_state(bool filled) override {
    const ElementRange all{0, slice_.count()};
    if (filled && all.count() > 0) {
      first_.encode(all, tensor::span_of(decoded_.at(0)), std::nullopt);
      second_.encode(all, tensor::span_of(decoded_.at(1)), std::nullopt);
    }
    decoded_.clear();
  }

  [[nodiscard]] std::size_t state_bytes() const override { return first_.bytes() + second_.bytes(); }

 private:
  /// Elements that are in fp32 at a time: a multiple of a block.
  static constexpr std::int64_t kPart = std::int64_t{1} << 18;

  OptimizerSettings settings_;
  std::vector<ParameterGroup> groups_;
  ElementRange slice_;
  std::string device_;
  CodedMoments first_;
  CodedMoments second_;
  std::vector<at::Tensor> decoded_;  ///< what `state` gave
};

}  // namespace

OptimizerKind adamw_8bit() {
  return {.make = [](OptimizerInputs inputs) -> std::unique_ptr<Optimizer> {
    return std::make_unique<AdamW8Bit>(std::move(inputs));
  }};
}

}  // namespace dormer::optim::kinds
