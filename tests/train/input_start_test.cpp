// Factors that start from the inputs of layers.
#include "train/input_start.hpp"

#include <map>
#include <string>

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sum.h>
#include <gmock/gmock.h>

#include "dormer/comm/single.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/random_key.hpp"
#include "dormer/objective/next_token.hpp"
#include "dormer/storage/checkpoint.hpp"
#include "dormer/train/run.hpp"
#include "support/token_file.hpp"
#include "train/tiny_run.hpp"

namespace dormer::train {
namespace {

using ::testing::ElementsAre;

std::string text_of(const std::vector<InputPass>& passes) {
  std::string text;
  for (const InputPass& pass : passes) {
    text += fmt::format("{}:", pass.rank);
    for (const std::size_t input : pass.inputs) {
      text += fmt::format(" {}", input);
    }
    text += "; ";
  }
  return text;
}

TEST(InputPasses, GiveRanksLikeWorkAndPassesBoundedSums) {
  const std::vector<SharedInput> inputs{{.width = 8}, {.width = 20}, {.width = 8}, {.width = 20}, {.width = 8}};
  const std::int64_t small = 8 * (8 * 8 + 8);
  const std::int64_t large = 8 * (20 * 20 + 20);
  EXPECT_EQ(text_of(plan_input_passes(inputs, 1, 1 << 20)), "0: 1 3 0 2 4; ");
  EXPECT_EQ(text_of(plan_input_passes(inputs, 2, 1 << 20)), "0: 1 0 4; 1: 3 2; ");
  EXPECT_EQ(text_of(plan_input_passes(inputs, 3, 1 << 20)), "0: 1; 1: 3; 2: 0 2 4; ");
  EXPECT_EQ(text_of(plan_input_passes(inputs, 7, 1 << 20)), "0: 1; 1: 3; 2: 0; 3: 2; 4: 4; ");
  EXPECT_EQ(text_of(plan_input_passes(inputs, 1, 2 * small)), "0: 1; 0: 3; 0: 0 2; 0: 4; ") << "one is always taken";
  const std::vector<InputPass> passes = plan_input_passes(inputs, 1, large + small);
  EXPECT_EQ(text_of(passes), "0: 1; 0: 3 0; 0: 2 4; ");
  EXPECT_EQ(passes[1].sum_bytes(inputs), large + small);
  EXPECT_EQ(passes[1].working_bytes(inputs), 8 * 3 * 20 * 20);
}

/// All inputs of every layer, at the positions that count.
class Recorder final : public adapter::InputObserver {
 public:
  void see(const adapter::Site& site, const at::Tensor& x) override {
    for (std::int64_t row = 0; row < x.size(0); ++row) {
      if (targets.reshape({-1})[row].item<std::int64_t>() != -100) {
        rows[site.name].push_back(x.narrow(0, row, 1).clone());
      }
    }
  }
  at::Tensor targets;
  std::map<std::string, std::vector<at::Tensor>> rows;
};

class InputStartTest : public ::testing::Test {
 protected:
  explicit InputStartTest() : model_(model::load_language_model(tiny_.config().model.path, DType::kF32)) {}

  [[nodiscard]] static adapter::AdapterConfig adapter_config() {
    adapter::AdapterConfig config;
    config.start = "eva";
    config.rank = 4;
    config.overrides = {{.match = "k_proj", .rank = 6}, {.match = "o_proj", .kind = "full"}};
    return config;
  }

  [[nodiscard]] data::TokenDataset dataset(const std::filesystem::path& file, data::Packing packing) const {
    return {file, {.sequence_length = 16, .model_vocabulary = 256, .tokenizer_sha256 = {}, .packing = packing}};
  }

  static at::Tensor factor(const adapter::AdapterSet& adapters, const std::string& name) {
    const tensor::FlatSpace& space = adapters.space();
    return tensor::FlatSpace::unpadded_part(space.values(), space.entries()[space.index_of(name)]);
  }

  TinyRun tiny_;
  std::unique_ptr<model::LanguageModel> model_;
};

/// Documents that leave rows half empty, with a mask: positions that predict nothing do not count.
TEST_F(InputStartTest, TakesTheDirectionsOfTheCountedPositionsOfEveryLayer) {
  test::TokenFile file{.offsets = {0}};
  for (std::uint64_t document = 0; document < 14; ++document) {
    for (std::uint64_t token = 0; token < 9 + document % 4; ++token) {
      file.tokens.push_back(static_cast<std::uint32_t>((document * 31 + token * token * 7) % 256));
      file.loss_mask.push_back(token % 5 == 3 ? 0 : 1);
    }
    file.offsets.push_back(file.tokens.size());
  }
  test::write_token_file(tiny_.folder() / "documents.h5", file);
  const data::TokenDataset data = dataset(tiny_.folder() / "documents.h5", data::Packing::kDocuments);
  const data::SampleOrder order(data.samples(), RandomKey{7}, true);
  constexpr std::int64_t kSamples = 9;
  adapter::AdapterSet adapters(adapter_config(), model_->layers(), RandomKey{7});
  const std::unique_ptr<comm::Communicator> single = comm::single();
  start_from_inputs(*single, {*model_, data, order, kSamples}, adapters);

  Recorder recorder;
  for (std::int64_t position = 0; position < kSamples; ++position) {
    const std::int64_t sample = order.sample_at(position);
    const data::TokenBatch batch = data.batch({&sample, 1});
    recorder.targets = batch.targets();
    adapter::Pack pack = adapter::Pack::solo(nullptr, 1);
    pack.observer = &recorder;
    static_cast<void>(objective::next_token_loss(*model_, batch, pack, {}));
  }
  for (const adapter::SitePlan& plan : adapters.plans()) {
    const std::string& name = model_->layers()[plan.site].site.name;
    if (plan.whole) {
      EXPECT_FALSE(adapters.space().contains(name + ".lora_A"));
      continue;
    }
    const at::Tensor rows = at::cat(recorder.rows.at(name), 0).to(at::kDouble);
    const auto [left, values, right] = at::linalg_svd(rows.sub(at::mean(rows, {0}, true)), false);
    const at::Tensor a = factor(adapters, name + ".lora_A").to(at::kDouble);
    ASSERT_EQ(a.size(0), name.ends_with("k_proj") ? 6 : 4);
    const at::Tensor expected = right.narrow(0, 0, a.size(0));
    const at::Tensor outside = a.sub(at::mm(at::mm(a, expected.t()), expected));
    // What fp32 rounds off a row of unit length, and Wedin 1972: fp64 sums of squares of rows, whose error is 2^-53
    // of the largest singular value squared and a few, over the gap of the squares.
    const double largest = values[0].item<double>();
    const double last = values[a.size(0) - 1].item<double>();
    const double next = values[a.size(0)].item<double>();
    const double allowed = 0x1p-24 + 100 * 0x1p-53 * largest * largest / (last * last - next * next);
    ASSERT_LT(allowed, 1e-6) << "the case says nothing";
    EXPECT_LT(at::sum(outside.pow(2), {1}).sqrt().max().item<double>(), 4 * allowed) << name;
    EXPECT_EQ(factor(adapters, name + ".lora_B").abs().max().item<float>(), 0.0F) << name;
  }
  const std::string attention = "model.layers.1.self_attn.";
  EXPECT_TRUE(at::equal(factor(adapters, attention + "q_proj.lora_A"),
                        factor(adapters, attention + "k_proj.lora_A").narrow(0, 0, 4)));
  EXPECT_TRUE(at::equal(factor(adapters, attention + "q_proj.lora_A"), factor(adapters, attention + "v_proj.lora_A")));
}

TEST_F(InputStartTest, LayersWithOneInputShareIt) {
  const data::TokenDataset data = dataset(tiny_.config().data.train, data::Packing::kBlocks);
  const adapter::AdapterSet adapters(adapter_config(), model_->layers(), RandomKey{7});
  const std::int64_t first = 0;
  std::vector<std::string> texts;
  for (const SharedInput& input : shared_inputs(*model_, data.batch({&first, 1}), adapters)) {
    texts.push_back(fmt::format("{} wide, rank {}", input.width, input.rank));
    for (const std::size_t site : input.sites) {
      const std::string& name = model_->layers()[site].site.name;
      texts.back() += " " + name.substr(name.rfind('.') + 1);
    }
  }
  const std::string attention = "64 wide, rank 6 q_proj k_proj v_proj";
  const std::string mlp = "64 wide, rank 4 gate_proj up_proj";
  const std::string down = "112 wide, rank 4 down_proj";
  EXPECT_THAT(texts, ElementsAre(attention, mlp, down, attention, mlp, down));
}

TEST_F(InputStartTest, TooFewPositionsAreRefusedBeforeAnythingIsTrained) {
  RunConfig config = tiny_.config();
  config.adapter.start = "eva";
  config.adapter.start_samples = 1;
  config.adapter.rank = 16;
  const std::unique_ptr<comm::Communicator> single = comm::single();
  try {
    static_cast<void>(train(config, *single));
    ADD_FAILURE() << "16 positions have 15 directions about their mean";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kUsage);
    EXPECT_THAT(error.what(),
                ::testing::HasSubstr("adapter.start_samples: 1 samples have 16 counted positions, too few for 16 "
                                     "directions of model.layers.0.self_attn.q_proj"));
  }
}

std::map<std::string, std::string> first_factors(const RunConfig& config) {
  std::map<std::string, std::string> arrays;
  for (const storage::StoredArray& array : newest_checkpoint(config.run.directory).arrays) {
    if (array.name.starts_with("parameters/") && array.name.ends_with("lora_A")) {
      arrays[array.name].assign(reinterpret_cast<const char*>(array.bytes.data()), array.bytes.size());
    }
  }
  return arrays;
}

/// With a learning rate of zero the parameters of a checkpoint are those of the start.
TEST_F(InputStartTest, MicroBatchesDoNotChangeItSeedAndSamplesDo) {
  const auto started = [&](const std::string& name, std::int64_t micro, std::int64_t samples, std::int64_t seed) {
    RunConfig config = tiny_.config(name);
    config.adapter.start = "eva";
    config.adapter.start_samples = samples;
    config.batch.micro = micro;
    config.run.seed = seed;
    config.run.steps = 2;
    config.optimizer.learning_rate = 0.0;
    const std::unique_ptr<comm::Communicator> single = comm::single();
    train(config, *single);
    return first_factors(config);
  };
  const auto factors = started("two", 2, 10, 7);
  ASSERT_FALSE(factors.empty());
  EXPECT_EQ(factors, started("eight", 8, 10, 7));
  EXPECT_NE(factors, started("more", 2, 11, 7));
  EXPECT_NE(factors, started("other", 2, 10, 8)) << "the run's first samples are others";
  EXPECT_EQ(started("all", 2, 50, 7), started("beyond", 2, 1000, 7)) << "at most all samples";
}

}  // namespace
}  // namespace dormer::train
