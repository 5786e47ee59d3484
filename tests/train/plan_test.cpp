#include "dormer/train/run_plan.hpp"

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <nlohmann/json.hpp>

#include "dormer/core/atomic_file.hpp"
#include "dormer/tensor/memory.hpp"
#include "dormer/tensor/process.hpp"
#include "train/gpu_fit.hpp"
#include "train/memory_plan.hpp"
#include "train/tiny_run.hpp"

namespace dormer::train {
namespace {

constexpr std::int64_t kGibibyte = std::int64_t{1} << 30;

/// A Llama of 70 billion parameters, whose weights are a hole: a file of 131 GiB that takes a few pages of a disk.
class HollowModel {
 public:
  explicit HollowModel(const std::filesystem::path& folder) : folder_(folder) {
    std::filesystem::create_directories(folder);
    const std::int64_t hidden = 8192;
    const std::int64_t inner = 28'672;
    const std::int64_t key = 1024;
    add("model.embed_tokens", {128'256, hidden});
    for (int layer = 0; layer < 80; ++layer) {
      const std::string prefix = "model.layers." + std::to_string(layer) + ".";
      add(prefix + "self_attn.q_proj", {hidden, hidden});
      add(prefix + "self_attn.k_proj", {key, hidden});
      add(prefix + "self_attn.v_proj", {key, hidden});
      add(prefix + "self_attn.o_proj", {hidden, hidden});
      add(prefix + "mlp.gate_proj", {inner, hidden});
      add(prefix + "mlp.up_proj", {inner, hidden});
      add(prefix + "mlp.down_proj", {hidden, inner});
      add(prefix + "input_layernorm", {hidden});
      add(prefix + "post_attention_layernorm", {hidden});
    }
    add("model.norm", {hidden});
    add("lm_head", {128'256, hidden});
    write(hidden, inner);
  }

  [[nodiscard]] std::int64_t bytes_on_disk() const {
    struct stat facts = {};
    ::stat((folder_ / "model.safetensors").c_str(), &facts);
    return facts.st_blocks * 512;
  }
  [[nodiscard]] std::int64_t weight_bytes() const { return end_; }

 private:
  void add(const std::string& module, const std::vector<std::int64_t>& shape) {
    std::int64_t bytes = 2;
    for (const std::int64_t dimension : shape) {
      bytes *= dimension;
    }
    header_[module + ".weight"] = {{"dtype", "BF16"}, {"shape", shape}, {"data_offsets", {end_, end_ + bytes}}};
    end_ += bytes;
  }

  void write(std::int64_t hidden, std::int64_t inner) const {
    std::string text = header_.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');
    const std::uint64_t size = text.size();
    std::string file(reinterpret_cast<const char*>(&size), sizeof size);
    file += text;
    write_file_atomically(folder_ / "model.safetensors", file);
    std::filesystem::resize_file(folder_ / "model.safetensors", file.size() + static_cast<std::uint64_t>(end_));
    const nlohmann::json config{
        {"model_type", "llama"},           {"hidden_size", hidden},   {"intermediate_size", inner},
        {"vocab_size", 128'256},           {"num_hidden_layers", 80}, {"num_attention_heads", 64},
        {"num_key_value_heads", 8},        {"rms_norm_eps", 1e-5},    {"rope_theta", 5e5},
        {"max_position_embeddings", 8192}, {"hidden_act", "silu"},    {"tie_word_embeddings", false}};
    write_file_atomically(folder_ / "config.json", config.dump());
  }

  std::filesystem::path folder_;
  nlohmann::ordered_json header_;
  std::int64_t end_ = 0;
};

class PlanTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { tensor::configure_process(1); }
  TinyRun tiny_;
};

TEST_F(PlanTest, NeedsNoByteOfTheWeights) {
  const HollowModel model(tiny_.folder() / "hollow");
  RunConfig config = tiny_.config();
  config.model = {.path = tiny_.folder() / "hollow", .dtype = "bfloat16"};
  const std::int64_t before = tensor::peak_resident_bytes();
  const RunPlan plan = plan_run(config, {.ranks = 2});
  EXPECT_LT(tensor::peak_resident_bytes() - before, std::int64_t{200} << 20) << "of 131 GiB";
  EXPECT_LT(model.bytes_on_disk(), std::int64_t{1} << 20) << "a page that is read would still be a hole, but written";
  EXPECT_EQ(plan.adapted_layers, 560);
  EXPECT_GT(plan.ranks[0].memory.mapped, 130 * kGibibyte);
  EXPECT_NEAR(static_cast<double>(plan.base_bytes), static_cast<double>(model.weight_bytes()),
              1e-4 * static_cast<double>(model.weight_bytes()));  // norms are fp32, and angles come with the family
  EXPECT_EQ(plan.machines.size(), 1U);
  EXPECT_EQ(plan.machines[0].total(), plan.ranks[0].memory.peak + plan.ranks[1].memory.peak + plan.machines[0].mapped);
}

TEST_F(PlanTest, TellsWhetherAGpuIsLargeEnoughAndWhatWouldHelp) {
  RunConfig config = tiny_.config();
  config.model.dtype = "auto";
  const RunPlan small = plan_run(config, {.gpu_memory = kGibibyte / 2});
  EXPECT_TRUE(small.gpu);
  EXPECT_EQ(small.dtype, "bfloat16");
  EXPECT_EQ(small.ranks[0].memory.mapped, 0);
  EXPECT_EQ(small.ranks[0].memory.base, small.base_bytes);
  ASSERT_TRUE(small.fit.has_value());
  EXPECT_FALSE(small.fit->fits);
  ASSERT_FALSE(small.fit->changes.empty());
  EXPECT_EQ(small.fit->changes[0].change, "run.recompute: true");
  for (const ChangePlan& change : small.fit->changes) {
    EXPECT_LT(change.peak, small.ranks[0].memory.peak) << change.change;
    EXPECT_FALSE(change.fits) << "what is assumed for CUDA alone is too large: " << change.change;
  }
  EXPECT_TRUE(plan_run(config, {.gpu_memory = 24 * kGibibyte}).fit->fits);
}

TEST_F(PlanTest, ChangesWhatMakesItFit) {
  RunConfig config = tiny_.config();
  config.batch = {.global = 8, .micro = 8};
  const auto peak = plan_run(config, {.gpu_memory = kGibibyte}).ranks[0].memory.peak;
  const GpuFit fit = *plan_run(config, {.gpu_memory = kAssumedGpuBytes + peak - 1}).fit;
  ASSERT_FALSE(fit.fits);
  ASSERT_TRUE(fit.changes.back().fits);
  config.run.recompute = true;  // the first change; that plan is the one of the changed configuration
  EXPECT_EQ(fit.changes.front().peak, plan_run(config, {.gpu_memory = kGibibyte}).ranks[0].memory.peak);
}

TEST(MemoryOfRank, AddsWhatIsThereAtOneTime) {
  MemoryFacts facts{.base = 1000, .mapped = 700, .adapters = 50, .start = 60};
  facts.passing = {.activations = 400, .loss = 30, .validation = 100, .norms = 10, .report = 20};
  facts.buffers = {.gradient = 40, .sums = 80, .received = 5};
  facts.moments = 90;
  facts.saving = 200;
  EXPECT_EQ(memory_of_rank(facts).peak, 300 + 50 + 40 + 85 + 90 + 430);
  EXPECT_EQ(memory_of_rank(facts).busiest, "micro-batch");
  facts.saving = 500;
  EXPECT_EQ(memory_of_rank(facts).peak, 300 + 50 + 40 + 85 + 90 + 500);
  EXPECT_EQ(memory_of_rank(facts).busiest, "saving");
  EXPECT_EQ(memory_of_rank(facts).tensors, 300 + 50 + 40 + 85 + 90 + 430);
  facts.image = 80;  // of a checkpoint under way beside the micro-batch: 510 are more than 500
  EXPECT_EQ(memory_of_rank(facts).peak, 300 + 50 + 40 + 85 + 90 + 430 + 80);
  EXPECT_EQ(memory_of_rank(facts).busiest, "micro-batch");
  EXPECT_EQ(memory_of_rank(facts).tensors, 300 + 50 + 40 + 85 + 90 + 430) << "it is no tensor";
  facts.check = 450;
  EXPECT_EQ(memory_of_rank(facts).tensors, 300 + 50 + 40 + 85 + 90 + 450);
  facts.inputs = 600;
  EXPECT_EQ(memory_of_rank(facts).peak, 300 + 50 + 40 + 90 + 600);
  EXPECT_EQ(memory_of_rank(facts).tensors, 300 + 50 + 40 + 90 + 600);
  EXPECT_EQ(memory_of_rank(facts).busiest, "inputs");
  facts.gpu = true;  // files are written from the host, and nothing is mapped
  EXPECT_EQ(memory_of_rank(facts).peak, 1000 + 50 + 40 + 85 + 90 + 430);
}

TEST(ResidentBytes, CountsTheMappingOnceAndMoreThanThePeak) {
  const RankMemory memory{.mapped = 300, .peak = 1'000};
  EXPECT_EQ(resident_bytes(memory, 200), 200 + 300 + 1'150);
}

}  // namespace
}  // namespace dormer::train
