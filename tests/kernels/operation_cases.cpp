#include "kernels/operation_cases.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/case_arrays.hpp"

namespace dormer::kernels {
namespace {

template <typename Element>
OperationCase rms_norm_case(std::int64_t rows, std::int64_t width) {
  return {"rms_norm", kHalf<Element>, width, [=](const Kernels& kernels, Memory& memory) {
            const auto y = zeros<Element>(memory, rows * width);
            const auto inverse = zeros<float>(memory, rows);
            kernels.run(RmsNormArguments<Element>{uniform<Element>(memory, rows * width, 1, 2.0F).data,
                                                  uniform<float>(memory, width, 2, 1.0F).data, y.data, inverse.data,
                                                  width, 1e-5F},
                        rows);
            return all_of(memory, y, inverse);
          }};
}

template <typename Element>
OperationCase rms_norm_backward_case(std::int64_t rows, std::int64_t width) {
  return {"rms_norm_backward", kHalf<Element>, width, [=](const Kernels& kernels, Memory& memory) {
            const auto result = zeros<Element>(memory, rows * width);
            kernels.run(
                RmsNormBackwardArguments<Element>{uniform<Element>(memory, rows * width, 1, 2.0F).data,
                                                  uniform<float>(memory, width, 2, 1.0F).data,
                                                  uniform<Element>(memory, rows * width, 3, 1.0F).data,
                                                  uniform<float>(memory, rows, 4, 0.2F, 0.8F).data, result.data, width},
                rows);
            return all_of(memory, result);
          }};
}

template <typename Element>
OperationCase gated_unit_case(GateFunction function) {
  return {"gated_unit", kHalf<Element>, 1, [=](const Kernels& kernels, Memory& memory) {
            const auto y = zeros<Element>(memory, 1'003);
            kernels.run(GatedUnitArguments<Element>{uniform<Element>(memory, y.count, 1, 9.0F).data,
                                                    uniform<Element>(memory, y.count, 2, 2.0F).data, y.data, function},
                        y.count);
            return all_of(memory, y);
          }};
}

template <typename Element>
OperationCase gated_unit_backward_case(GateFunction function) {
  return {"gated_unit_backward", kHalf<Element>, 1, [=](const Kernels& kernels, Memory& memory) {
            const auto gate = zeros<Element>(memory, 1'003);
            const auto up = zeros<Element>(memory, gate.count);
            kernels.run(GatedUnitBackwardArguments<Element>{uniform<Element>(memory, gate.count, 1, 9.0F).data,
                                                            uniform<Element>(memory, gate.count, 2, 2.0F).data,
                                                            uniform<Element>(memory, gate.count, 3, 2.0F).data,
                                                            gate.data, up.data, function},
                        gate.count);
            return all_of(memory, gate, up);
          }};
}

template <typename Element>
OperationCase soft_cap_case() {
  return {"soft_cap", kHalf<Element>, 1, [](const Kernels& kernels, Memory& memory) {
            const auto x = uniform<Element>(memory, 1'003, 1, 90.0F);
            kernels.run(SoftCapArguments<Element>{x.data, 0.3F, 20.0F}, x.count);
            return all_of(memory, x);
          }};
}

template <typename Element>
OperationCase soft_cap_backward_case() {
  return {"soft_cap_backward", kHalf<Element>, 1, [](const Kernels& kernels, Memory& memory) {
            const auto gradient = uniform<Element>(memory, 1'003, 1, 3.0F);
            kernels.run(SoftCapBackwardArguments<Element>{uniform<Element>(memory, gradient.count, 2, 19.0F).data,
                                                          gradient.data, 0.3F, 20.0F},
                        gradient.count);
            return all_of(memory, gradient);
          }};
}

template <typename Element>
OperationCase scale_columns_case(bool with_bias) {
  return {"scale_columns", kHalf<Element>, 1, [=](const Kernels& kernels, Memory& memory) {
            const auto y = uniform<Element>(memory, 7 * 203, 1, 3.0F);
            const auto bias = uniform<Element>(memory, 203, 2, 1.0F);
            kernels.run(ScaleColumnsArguments<Element>{y.data, uniform<float>(memory, 203, 3, 2.0F).data,
                                                       with_bias ? bias.data : nullptr, 203},
                        7);
            return all_of(memory, y);
          }};
}

template <typename Element>
OperationCase scale_columns_backward_case(std::int64_t rows, std::int64_t width, bool with_bias) {
  return {"scale_columns_backward", kHalf<Element>, rows, [=](const Kernels& kernels, Memory& memory) {
            const auto scaled = zeros<Element>(memory, rows * width);
            const auto sums = zeros<float>(memory, width);
            const auto bias = uniform<Element>(memory, width, 2, 1.0F);
            kernels.run(ScaleColumnsBackwardArguments<Element>{uniform<Element>(memory, rows * width, 3, 1.0F).data,
                                                               uniform<Element>(memory, rows * width, 4, 2.0F).data,
                                                               with_bias ? bias.data : nullptr,
                                                               uniform<float>(memory, width, 5, 2.0F).data, scaled.data,
                                                               sums.data, rows, width},
                        width);
            return all_of(memory, scaled, sums);
          }};
}

template <typename Element>
OperationCase scale_rows_case(bool with_bias) {
  return {"scale_rows", kHalf<Element>, 1, [=](const Kernels& kernels, Memory& memory) {
            const auto y = uniform<Element>(memory, 14 * 203, 1, 3.0F);
            const auto bias = uniform<Element>(memory, 7, 2, 1.0F);
            kernels.run(ScaleRowsArguments<Element>{y.data, uniform<float>(memory, 7, 3, 2.0F).data,
                                                    with_bias ? bias.data : nullptr, 7, 203},
                        14);
            return all_of(memory, y);
          }};
}

template <typename Element>
OperationCase scale_rows_backward_case(std::int64_t width, bool with_bias) {
  constexpr std::int64_t kChannels = 5;
  constexpr std::int64_t kRows = 2 * kChannels;
  return {"scale_rows_backward", kHalf<Element>, width, [=](const Kernels& kernels, Memory& memory) {
            const auto scaled = zeros<Element>(memory, kRows * width);
            const auto sums = zeros<float>(memory, kRows);
            const auto bias = uniform<Element>(memory, kChannels, 2, 1.0F);
            kernels.run(ScaleRowsBackwardArguments<Element>{uniform<Element>(memory, kRows * width, 3, 1.0F).data,
                                                            uniform<Element>(memory, kRows * width, 4, 2.0F).data,
                                                            with_bias ? bias.data : nullptr,
                                                            uniform<float>(memory, kChannels, 5, 2.0F).data,
                                                            scaled.data, sums.data, kChannels, width},
                        kRows);
            return all_of(memory, scaled, sums);
          }};
}

template <typename Element>
OperationCase squared_row_sums_case() {
  return {"squared_row_sums", kHalf<Element>, 1'200, [](const Kernels& kernels, Memory& memory) {
            const auto sums = zeros<float>(memory, 5);
            kernels.run(
                SquaredRowSumsArguments<Element>{uniform<Element>(memory, 5 * 2'503, 1, 2.0F).data, sums.data, 2'503},
                5);
            return all_of(memory, sums);
          }};
}

/// Two samples of two batches, several documents a sample and a window, and queries that start late.
template <typename Element>
OperationCase causal_softmax_case(bool documents) {
  return {"causal_softmax", kHalf<Element>, 67, [=](const Kernels& kernels, Memory& memory) {
            std::vector<std::int64_t> begin;
            for (std::int64_t position = 0; position < 2 * 67; ++position) {
              begin.push_back(position % 67 < 20 ? 0 : (position % 67 < 41 ? 20 : 41));
            }
            const auto placed_begin = placed(memory, begin);
            const auto scores = uniform<Element>(memory, 4 * 94 * 67, 1, 8.0F);
            kernels.run(CausalSoftmaxArguments<Element>{.scores = scores.data,
                                                        .rows = 94,
                                                        .keys = 67,
                                                        .rows_per_position = 2,
                                                        .first_position = 20,
                                                        .scale = 0.7F,
                                                        .window = documents ? 33 : 0,
                                                        .document_begin = documents ? placed_begin.data : nullptr,
                                                        .positions = 67,
                                                        .batches_per_sample = 2},
                        4 * 94);
            return all_of(memory, scores);
          }};
}

template <typename Element>
OperationCase softmax_backward_case() {
  return {"softmax_backward", kHalf<Element>, 67, [](const Kernels& kernels, Memory& memory) {
            const auto gradient = uniform<Element>(memory, 40 * 67, 1, 1.0F);
            kernels.run(SoftmaxBackwardArguments<Element>{uniform<Element>(memory, 40 * 67, 2, 0.015F, 0.015F).data,
                                                          gradient.data, 67, 0.7F},
                        40);
            return all_of(memory, gradient);
          }};
}

template <typename Element>
OperationCase cross_entropy_case(bool backward, std::int64_t vocabulary) {
  return {"cross_entropy", kHalf<Element>, backward ? vocabulary : 1, [=](const Kernels& kernels, Memory& memory) {
            const auto logits = uniform<Element>(memory, 5 * vocabulary, 1, 9.0F);
            const auto targets = placed(memory, std::vector<std::int64_t>{0, vocabulary - 1, -100, 17, 3});
            const auto losses = zeros<float>(memory, 5);
            kernels.run(
                CrossEntropyArguments<Element>{logits.data, targets.data, losses.data, vocabulary, backward, 0.25F}, 5);
            return backward ? all_of(memory, logits, losses) : all_of(memory, losses);
          }};
}

template <typename Element>
OperationCase rotary_case(bool turn, bool inverse, bool per_sample) {
  return {"rotary", kHalf<Element>, 2, [=](const Kernels& kernels, Memory& memory) {
            const std::int64_t count = 2 * 5 * 3 * 2 * 14;
            const auto to = zeros<Element>(memory, count);
            const auto cosine = uniform<float>(memory, 2 * 5 * 7, 2, 1.0F);
            kernels.run(
                RotaryArguments<Element>{uniform<Element>(memory, count, 1, 2.0F).data, to.data,
                                         turn ? cosine.data : nullptr, uniform<float>(memory, 2 * 5 * 7, 3, 1.0F).data,
                                         5, 3, 2, 14, inverse, per_sample},
                2 * 5);
            return all_of(memory, to);
          }};
}

template <typename Element>
OperationCase dropout_case() {
  return {"dropout", kHalf<Element>, 1, [](const Kernels& kernels, Memory& memory) {
            const auto y = zeros<Element>(memory, 1'003);
            kernels.run(DropoutArguments<Element>{uniform<Element>(memory, y.count, 1, 2.0F).data, y.data, y.count,
                                                  dropout_mask(77, 0.3)},
                        (y.count + 3) / 4);
            return all_of(memory, y);
          }};
}

OperationCase adamw_case() {
  return {"adamw", false, 1, [](const Kernels& kernels, Memory& memory) {
            const auto parameters = uniform<float>(memory, 1'003, 1, 1.0F);
            const auto first = uniform<float>(memory, 1'003, 2, 0.1F);
            const auto second = uniform<float>(memory, 1'003, 3, 0.01F, 0.011F);
            kernels.run(AdamWArguments{parameters.data,
                                       first.data,
                                       second.data,
                                       uniform<float>(memory, 1'003, 4, 1.0F).data,
                                       {.gradient_scale = 0.7F, .decay = 0.999F, .step_size = 1e-3F}},
                        1'003);
            return all_of(memory, parameters, first, second);
          }};
}

OperationCase add_case() {
  return {"add_into", false, 1, [](const Kernels& kernels, Memory& memory) {
            const auto sum = uniform<float>(memory, 1'003, 1, 1.0F);
            kernels.run(AddArguments{sum.data, uniform<float>(memory, 1'003, 2, 1.0F).data}, 1'003);
            return all_of(memory, sum);
          }};
}

OperationCase fill_case() {
  return {"fill", false, 1, [](const Kernels& kernels, Memory& memory) {
            const auto values = zeros<float>(memory, 1'003);
            kernels.run(FillArguments{values.data, 0.3F}, 1'000);
            return all_of(memory, values);
          }};
}

OperationCase squared_blocks_case() {
  return {
      "squared_blocks", false, 1, [](const Kernels& kernels, Memory& memory) {
        const auto sums = zeros<double>(memory, 3);
        kernels.run(SquaredBlocksArguments{uniform<float>(memory, 9'001, 1, 1.0F).data, sums.data, 9'001, 4'096}, 3);
        return all_of(memory, sums);
      }};
}

OperationCase norms_from_terms_case() {
  return {"norms_from_terms", false, 1, [](const Kernels& kernels, Memory& memory) {
            const auto norm = zeros<float>(memory, 5);
            const auto cancels = zeros<std::uint8_t>(memory, 5);
            // Healthy, cancelling, just healthy, a row of zeros, not a number.
            kernels.run(
                NormsFromTermsArguments{
                    placed<float>(memory, {4.0F, 1.0F, 1.0F, 0.0F, 1.0F}).data,
                    placed<float>(memory, {0.5F, -1.0F, -0.9375F, 0.0F, std::numeric_limits<float>::quiet_NaN()}).data,
                    placed<float>(memory, {1.0F, 1.0F, 1.0F, 0.0F, 1.0F}).data, norm.data, cancels.data},
                5);
            return all_of(memory, norm, cancels);
          }};
}

template <typename Element>
OperationCase cancelling_norms_case() {
  return {"cancelling_norms", false, 300, [](const Kernels& kernels, Memory& memory) {
            const std::int64_t rows = 6;
            const std::int64_t width = 300;
            const auto norm = zeros<float>(memory, rows);
            kernels.run(CancellingNormsArguments<Element>{uniform<Element>(memory, rows * width, 1, 1.0F).data,
                                                          uniform<float>(memory, 16 * width, 2, 0.3F).data,
                                                          uniform<float>(memory, 16 * rows, 3, 0.3F).data,
                                                          placed<std::uint8_t>(memory, {1, 0, 1, 1, 0, 1}).data,
                                                          norm.data, rows, width, 16, 2.0F},
                        rows);
            return all_of(memory, norm);
          }};
}

OperationCase magnitude_factors_case() {
  return {"magnitude_factors", false, 1, [](const Kernels& kernels, Memory& memory) {
            const auto factor = zeros<float>(memory, 3);
            const auto inverse_magnitude = zeros<float>(memory, 3);
            const auto inverse_norm = zeros<float>(memory, 3);
            kernels.run(MagnitudeFactorsArguments{placed<float>(memory, {3.0F, 0.1F, -2.0F}).data,
                                                  placed<float>(memory, {2.0F, 0.0F, 0.7F}).data, factor.data,
                                                  inverse_magnitude.data, inverse_norm.data},
                        3);
            return all_of(memory, factor, inverse_magnitude, inverse_norm);
          }};
}

template <typename Element>
void add_cases_of(std::vector<OperationCase>& cases) {
  for (const GateFunction function : {GateFunction::kSilu, GateFunction::kGeluTanh}) {
    cases.push_back(gated_unit_case<Element>(function));
    cases.push_back(gated_unit_backward_case<Element>(function));
  }
  for (const std::int64_t width : {20, 203, 2'100}) {
    cases.push_back(rms_norm_case<Element>(5, width));
    cases.push_back(rms_norm_backward_case<Element>(5, width));
  }
  for (const bool option : {false, true}) {
    cases.push_back(scale_columns_case<Element>(option));
    cases.push_back(scale_columns_backward_case<Element>(option ? 131 : 9, 45, option));
    cases.push_back(scale_rows_case<Element>(option));
    cases.push_back(scale_rows_backward_case<Element>(option ? 2'503 : 9, option));
    cases.push_back(causal_softmax_case<Element>(option));
    cases.push_back(cross_entropy_case<Element>(option, 331));
    cases.push_back(cross_entropy_case<Element>(option, 5'003));
    cases.push_back(rotary_case<Element>(true, option, false));
    cases.push_back(rotary_case<Element>(option, false, option));
  }
  cases.push_back(dropout_case<Element>());
  cases.push_back(soft_cap_case<Element>());
  cases.push_back(soft_cap_backward_case<Element>());
  cases.push_back(squared_row_sums_case<Element>());
  cases.push_back(softmax_backward_case<Element>());
  cases.push_back(cancelling_norms_case<Element>());
}

}  // namespace

void* HostMemory::copied_in(const void* host, std::size_t bytes) {
  blocks_.emplace_back(bytes);
  std::memcpy(blocks_.back().data(), host, bytes);
  return blocks_.back().data();
}

void HostMemory::copy_out(void* host, const void* from, std::size_t bytes) {
  std::memcpy(host, from, bytes);
}

std::vector<OperationCase> operation_cases() {
  std::vector<OperationCase> cases;
  add_cases_of<float>(cases);
  add_cases_of<BFloat16>(cases);
  for (OperationCase (*make)() :
       {adamw_case, add_case, fill_case, squared_blocks_case, norms_from_terms_case, magnitude_factors_case}) {
    cases.push_back(make());
  }
  add_optimizer_cases(cases);
  return cases;
}

double rounding_excess(const OperationCase& which, const std::vector<double>& actual,
                       const std::vector<double>& expected) {
  if (actual.size() != expected.size()) {
    return std::numeric_limits<double>::infinity();
  }
  double squares = 0.0;
  for (const double value : expected) {
    squares += std::isnan(value) ? 0.0 : value * value;
  }
  const double root_mean_square = std::sqrt(squares / static_cast<double>(expected.size()));
  const double sums = 8.0 * 0x1p-24 * std::sqrt(static_cast<double>(which.terms)) * root_mean_square;
  double worst = 0.0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (std::isnan(expected[i]) != std::isnan(actual[i])) {
      return std::numeric_limits<double>::infinity();
    }
    const double unit = (which.half ? 0x1p-7 : 0x1p-22) * std::max(std::abs(actual[i]), std::abs(expected[i]));
    const double difference = std::isnan(expected[i]) ? 0.0 : std::abs(actual[i] - expected[i]);
    worst = std::max(worst, difference > 0.0 ? difference / (unit + sums) : 0.0);
  }
  return worst;
}

}  // namespace dormer::kernels
