#include "train/memory_estimate.hpp"

#include <map>
#include <string>

#include <gtest/gtest.h>

#include "train/trial.hpp"

namespace dormer::train {
namespace {

std::map<std::string, std::int64_t> bytes_of(const TrainingFacts& facts,
                                             const std::vector<adapter::FrozenLayer>& layers) {
  std::map<std::string, std::int64_t> result;
  for (const device::MemoryPart& part : training_memory(facts, layers)) {
    result.emplace(part.what, part.bytes);
  }
  return result;
}

std::vector<adapter::FrozenLayer> two_blocks() {
  std::vector<adapter::FrozenLayer> layers(4);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    layers[i].site.layer = static_cast<std::int64_t>(i / 2);
    layers[i].site.out = i < 2 ? 100 : 150;
  }
  return layers;
}

TEST(TrainingMemory, CountsWhatWaitsForTheBackwardPass) {
  TrainingFacts facts{.flat_elements = 1'000,
                      .gradient_bytes = 28'000,
                      .state_elements = 500,
                      .rows = 10,
                      .hidden = 40,
                      .blocks = 2,
                      .recompute = false,
                      .dtype = DType::kBF16};
  EXPECT_EQ(bytes_of(facts, two_blocks()),
            (std::map<std::string, std::int64_t>{
                {"adapters", 4'000}, {"gradients", 28'000}, {"moments", 4'000}, {"activations", 500 * 10 * 2}}));
  facts.recompute = true;  // two inputs of blocks, and the wider block's outputs
  facts.dtype = DType::kF32;
  EXPECT_EQ(bytes_of(facts, two_blocks()).at("activations"), (2 * 40 + 300) * 10 * 4);
}

TEST(ChosenReduction, IsExactWhereARunIsDeterministicUnlessTold) {
  RunConfig config;
  EXPECT_EQ(chosen_reduction(config, /*on_gpu=*/false), parallel::Reduction::kExact);
  EXPECT_EQ(chosen_reduction(config, /*on_gpu=*/true), parallel::Reduction::kFast);
  config.run.deterministic = true;
  EXPECT_EQ(chosen_reduction(config, /*on_gpu=*/true), parallel::Reduction::kExact);
  config.parallel.reduction = "fast";
  EXPECT_EQ(chosen_reduction(config, /*on_gpu=*/true), parallel::Reduction::kFast);
  EXPECT_EQ(chosen_reduction(config, /*on_gpu=*/false), parallel::Reduction::kFast);
  config.run.deterministic = false;
  config.parallel.reduction = "exact";
  EXPECT_EQ(chosen_reduction(config, /*on_gpu=*/true), parallel::Reduction::kExact);
}

}  // namespace
}  // namespace dormer::train
