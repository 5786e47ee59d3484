#include "kernels/case_arrays.hpp"
#include "kernels/operation_cases.hpp"

namespace dormer::kernels {
namespace {

constexpr std::int64_t kCount = 1'003;

OperationCase lion_case() {
  return {"lion", false, 1, [](const Kernels& kernels, Memory& memory) {
            const auto parameters = uniform<float>(memory, kCount, 1, 1.0F);
            const auto moments = uniform<float>(memory, kCount, 2, 0.1F);
            kernels.run(LionArguments{parameters.data,
                                      moments.data,
                                      uniform<float>(memory, kCount, 3, 1.0F).data,
                                      {.gradient_scale = 0.7F, .decay = 0.999F, .step_size = 1e-3F}},
                        kCount);
            return all_of(memory, parameters, moments);
          }};
}

OperationCase schedule_free_case() {
  return {"schedule_free", false, 1, [](const Kernels& kernels, Memory& memory) {
            const auto points = uniform<float>(memory, kCount, 1, 1.0F);
            const auto bases = uniform<float>(memory, kCount, 2, 1.0F);
            const auto second = uniform<float>(memory, kCount, 3, 0.01F, 0.011F);
            kernels.run(ScheduleFreeArguments{points.data,
                                              bases.data,
                                              second.data,
                                              uniform<float>(memory, kCount, 4, 1.0F).data,
                                              {.gradient_scale = 0.7F,
                                               .weight_decay = 0.1F,
                                               .base_step = 1e-3F,
                                               .point_step = 4e-4F,
                                               .mixture = 0.3F}},
                        kCount);
            return all_of(memory, points, bases, second);
          }};
}

OperationCase prodigy_moments_case() {
  return {"prodigy_moments", false, 1, [](const Kernels& kernels, Memory& memory) {
            const auto first = uniform<float>(memory, kCount, 1, 0.1F);
            const auto second = uniform<float>(memory, kCount, 2, 0.01F, 0.011F);
            const auto sums = uniform<float>(memory, kCount, 3, 0.1F);
            kernels.run(
                ProdigyMomentsArguments{
                    first.data,
                    second.data,
                    sums.data,
                    uniform<float>(memory, kCount, 4, 1.0F).data,
                    {.gradient_scale = 0.7F, .first_weight = 0.02F, .second_weight = 0.003F, .sum_weight = 0.04F}},
                kCount);
            return all_of(memory, first, second, sums);
          }};
}

/// A whole block, a block and a short one.
OperationCase prodigy_sums_case() {
  return {"prodigy_sums", false, 4'096, [](const Kernels& kernels, Memory& memory) {
            const auto sums = zeros<double>(memory, 6);
            kernels.run(ProdigySumsArguments{.parameters = uniform<float>(memory, 9'001, 1, 1.0F).data,
                                             .anchors = uniform<float>(memory, 9'001, 2, 1.0F).data,
                                             .weighted_sums = uniform<float>(memory, 9'001, 3, 1.0F).data,
                                             .gradients = uniform<float>(memory, 9'001, 4, 1.0F).data,
                                             .sums = sums.data,
                                             .size = 9'001,
                                             .width = 4'096,
                                             .gradient_scale = 0.7F},
                        3);
            return all_of(memory, sums);
          }};
}

OperationCase prodigy_step_case() {
  return {"prodigy_step", false, 1, [](const Kernels& kernels, Memory& memory) {
            const auto parameters = uniform<float>(memory, kCount, 1, 1.0F);
            kernels.run(
                ProdigyStepArguments{parameters.data, uniform<float>(memory, kCount, 2, 0.1F).data,
                                     uniform<float>(memory, kCount, 3, 0.01F, 0.011F).data, 0.999F, 1e-3F, 1e-8F},
                kCount);
            return all_of(memory, parameters);
          }};
}

/// Codes are whole numbers: every way must find the same ones. The third block is all zero, the last one short.
OperationCase encode_case(MomentCode code, bool nearest) {
  return {"encode_moments", false, 1, [=](const Kernels& kernels, Memory& memory) {
            constexpr std::int64_t kShort = 3 * kMomentBlock + 101;
            const bool first = code == MomentCode::kFirst;
            std::vector<float> values(kShort);
            for (std::size_t i = 0; i < values.size(); ++i) {
              const float draw = to_uniform(philox(RandomKey{5}, i)[0]);
              const bool zero = i / kMomentBlock == 2;
              values[i] = zero ? 0.0F : draw * draw * draw * (first && i % 3 == 0 ? -0.1F : 0.1F);
            }
            const auto codes = zeros<std::uint8_t>(memory, kShort);
            const auto largest = zeros<float>(memory, 4);
            kernels.run(EncodeMomentsArguments{.values = placed(memory, values).data,
                                               .codes = codes.data,
                                               .largest = largest.data,
                                               .size = kShort,
                                               .width = kMomentBlock,
                                               .key = 17,
                                               .first_quad = 1'024,
                                               .code = code,
                                               .nearest = nearest},
                        4);
            return all_of(memory, codes, largest);
          }};
}

OperationCase decode_case(MomentCode code) {
  return {"decode_moments", false, 1, [=](const Kernels& kernels, Memory& memory) {
            std::vector<std::uint8_t> codes(kCount);
            for (std::size_t i = 0; i < codes.size(); ++i) {
              codes[i] = static_cast<std::uint8_t>(i % 255 + 1);
            }
            const auto values = zeros<float>(memory, kCount);
            kernels.run(DecodeMomentsArguments{placed(memory, codes).data,
                                               uniform<float>(memory, 4, 1, 0.1F, 1.0F).data, values.data, code},
                        kCount);
            return all_of(memory, values);
          }};
}

}  // namespace

void add_optimizer_cases(std::vector<OperationCase>& cases) {
  for (OperationCase (*make)() :
       {lion_case, schedule_free_case, prodigy_moments_case, prodigy_sums_case, prodigy_step_case}) {
    cases.push_back(make());
  }
  for (const MomentCode code : {MomentCode::kFirst, MomentCode::kSecond}) {
    cases.push_back(encode_case(code, true));
    cases.push_back(encode_case(code, false));
    cases.push_back(decode_case(code));
  }
}

}  // namespace dormer::kernels
