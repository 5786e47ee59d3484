#pragma once

#include "dormer/kernels/dropout.hpp"
#include "dormer/kernels/optimizers.hpp"
#include "dormer/kernels/rows.hpp"
#include "dormer/kernels/scaling.hpp"
#include "dormer/kernels/updates.hpp"

namespace dormer::kernels {

template <typename... Arguments>
struct OperationList {};

/// Every operation, by the type of its arguments.
using EveryOperation =
    OperationList<RmsNormArguments<float>, RmsNormArguments<BFloat16>, RmsNormBackwardArguments<float>,
                  RmsNormBackwardArguments<BFloat16>, GatedUnitArguments<float>, GatedUnitArguments<BFloat16>,
                  GatedUnitBackwardArguments<float>, GatedUnitBackwardArguments<BFloat16>, SoftCapArguments<float>,
                  SoftCapArguments<BFloat16>, SoftCapBackwardArguments<float>, SoftCapBackwardArguments<BFloat16>,
                  ScaleColumnsArguments<float>, ScaleColumnsArguments<BFloat16>, ScaleColumnsBackwardArguments<float>,
                  ScaleColumnsBackwardArguments<BFloat16>, ScaleRowsArguments<float>, ScaleRowsArguments<BFloat16>,
                  ScaleRowsBackwardArguments<float>, ScaleRowsBackwardArguments<BFloat16>,
                  SquaredRowSumsArguments<float>, SquaredRowSumsArguments<BFloat16>, CausalSoftmaxArguments<float>,
                  CausalSoftmaxArguments<BFloat16>, SoftmaxBackwardArguments<float>, SoftmaxBackwardArguments<BFloat16>,
                  CrossEntropyArguments<float>, CrossEntropyArguments<BFloat16>, RotaryArguments<float>,
                  RotaryArguments<BFloat16>, DropoutArguments<float>, DropoutArguments<BFloat16>, AdamWArguments,
                  AddArguments, FillArguments, SquaredBlocksArguments, NormsFromTermsArguments,
                  CancellingNormsArguments<float>, CancellingNormsArguments<BFloat16>, MagnitudeFactorsArguments,
                  LionArguments, ScheduleFreeArguments, ProdigyMomentsArguments, ProdigySumsArguments,
                  ProdigyStepArguments, EncodeMomentsArguments, DecodeMomentsArguments>;

}  // namespace dormer::kernels
