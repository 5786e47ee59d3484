#include "dormer/tensor/flat_space.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

namespace dormer::tensor {
namespace {

FlatSpace two_parameters() {
  FlatSpace space;
  space.add("a", {3, 5}, {16, 5}, ParameterRole::kFactorIn);
  space.add("m", {7}, {7}, ParameterRole::kMagnitude);
  space.allocate();
  return space;
}

TEST(FlatSpace, AlignsParametersAndFillsWholeNormBlocks) {
  const FlatSpace space = two_parameters();
  EXPECT_EQ(space.entries()[0].offset, 0);
  EXPECT_EQ(space.entries()[1].offset, 128);  // 16 * 5 = 80, up to a multiple of 64
  EXPECT_EQ(space.size(), FlatSpace::kNormBlock);
}

TEST(FlatSpace, PaddingIsASuffixOfTheStoredValues) {
  const FlatSpace space = two_parameters();
  const at::Tensor flat = space.values();
  FlatSpace::unpadded_part(flat, space.entries()[0]).fill_(1.0);
  const at::Tensor stored = FlatSpace::part(flat, space.entries()[0]);
  EXPECT_EQ(stored.narrow(0, 0, 3).sum().item<double>(), 15.0);
  EXPECT_EQ(stored.narrow(0, 3, 13).abs().sum().item<double>(), 0.0);
}

TEST(FlatSpace, GradientsLandInTheBoundBuffer) {
  FlatSpace space = two_parameters();
  const at::Tensor first = at::ones({space.size()}, at::kFloat);
  space.bind_gradient(first);
  space.gradient(1).add_(2.0);
  EXPECT_EQ(first.sum().item<double>(), static_cast<double>(space.size()) + 14.0);
}

TEST(FlatSpace, EveryWriteIsANewGeneration) {
  FlatSpace space = two_parameters();
  const auto before = space.generation();
  space.mark_written();
  EXPECT_NE(space.generation(), before);
}

}  // namespace
}  // namespace dormer::tensor
