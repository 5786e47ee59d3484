// Started by mpirun with 1, 2 and 3 ranks: what `dormer plan` says of each rank beside what that rank takes.
#include <cstdio>
#include <functional>
#include <string>

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include "dormer/comm/traced.hpp"
#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/data/tokenizer_identity.hpp"
#include "dormer/tensor/memory.hpp"
#include "dormer/tensor/process.hpp"
#include "dormer/train/run.hpp"
#include "dormer/train/run_plan.hpp"
#include "support/borrowed_communicator.hpp"
#include "support/mpi_world.hpp"
#include "support/tiny_model.hpp"
#include "support/token_file.hpp"
#include "train/agreement.hpp"
#include "train/startup.hpp"
#include "train/text_task.hpp"
#include "train/tiny_run.hpp"
#include "train/trial.hpp"

namespace dormer::train {
namespace {

/// What the specification of `dormer plan` allows: a tenth of what is measured.
/// Products of a CPU without AVX-512 take memory of their own, which depends on their shape and is not planned.
const double kAllowed = tensor::cpu_has_bfloat16() ? 0.1 : 0.15;

struct Case {
  std::string name;
  std::function<void(RunConfig& config)> change;
};

void PrintTo(const Case& value, std::ostream* stream) {
  *stream << value.name;
}

std::vector<Case> cases() {
  const auto decomposed_or_not = [](RunConfig& config, bool decompose) {
    if (decompose) {
      config.adapter.decompose.emplace();
    } else {
      config.adapter.decompose.reset();
    }
  };
  std::vector<Case> all{
      {"dora", [](RunConfig&) {}},
      {"lora", [=](RunConfig& config) { decomposed_or_not(config, false); }},
      {"full",
       [=](RunConfig& config) {
         decomposed_or_not(config, false);
         config.adapter.kind = "full";
       }},
      {"lora_beside_whole_layers",
       [](RunConfig& config) { config.adapter.overrides.push_back({.match = "down_proj", .kind = "full"}); }},
      {"attention_alone", [](RunConfig& config) { config.adapter.targets = {"attention"}; }},
      {"rank_20", [](RunConfig& config) { config.adapter.rank = 20; }},
      {"bfloat16", [](RunConfig& config) { config.model.dtype = "bfloat16"; }},
      {"plain_products", [](RunConfig& config) { config.run.linear = "plain"; }},
      {"plain_products_in_bfloat16",
       [](RunConfig& config) {
         config.run.linear = "plain";
         config.model.dtype = "bfloat16";
       }},
      {"full_in_bfloat16",
       [=](RunConfig& config) {
         decomposed_or_not(config, false);
         config.adapter.kind = "full";
         config.model.dtype = "bfloat16";
       }},
      {"dropout", [](RunConfig& config) { config.adapter.dropout = 0.2; }},
      {"dropout_without_decomposition",
       [=](RunConfig& config) {
         decomposed_or_not(config, false);
         config.adapter.dropout = 0.2;
       }},
      {"rank_dropout", [](RunConfig& config) { config.adapter.rank_dropout = 0.2; }},
      {"rank_and_module_dropout_without_decomposition",
       [=](RunConfig& config) {
         decomposed_or_not(config, false);
         config.adapter.rank_dropout = config.adapter.module_dropout = 0.2;
       }},
      {"loha_by_input_like_lycoris",
       [](RunConfig& config) {
         config.adapter.kind = "loha";
         config.adapter.decompose = adapter::DecomposeConfig{.axis = "input", .epsilon = 1e-7, .norm_gradient = true};
         config.exports.clear();  // PEFT does not compute it
       }},
      {"recompute", [](RunConfig& config) { config.run.recompute = true; }},
      {"documents", [](RunConfig& config) { config.data.packing = "documents"; }},
      {"documents_recomputed_in_bfloat16",
       [](RunConfig& config) {
         config.data.packing = "documents";
         config.run.recompute = true;
         config.model.dtype = "bfloat16";
       }},
      {"added_tokens", [](RunConfig& config) { config.model.added_tokens = "train"; }},
      {"inputs_of_layers", [](RunConfig& config) { config.adapter.start = "eva"; }},
      {"fast", [](RunConfig& config) { config.parallel.reduction = "fast"; }},
      {"fast_whole_state",
       [](RunConfig& config) { config.parallel = {.reduction = "fast", .shard_optimizer = false}; }},
      {"exact_whole_state", [](RunConfig& config) { config.parallel.shard_optimizer = false; }},
      {"one_sample_at_a_time", [](RunConfig& config) { config.batch.micro = 1; }},
      {"accumulation",
       [](RunConfig& config) {
         config.batch = {.global = 26, .micro = 2};  // 13 leaves: shares are no whole subtrees
         config.run.steps = 3;
       }},
  };
  return all;
}

/// Models whose tensors are small beside what an allocation is rounded up by, whose are not, and whose head is large
/// beside all else.
struct Shape {
  std::string name;
  test::TinyModel model;
  std::int64_t length = 0;
};

std::vector<Shape> shapes() {
  return {{"tiny", {}, 16},
          {"larger",
           {.vocabulary = 1500,
            .hidden = 192,
            .blocks = 3,
            .heads = 6,
            .key_value_heads = 3,
            .intermediate = 416,
            .maximum_positions = 256,
            .tied = false},
           160},
          {"wide_head", {.vocabulary = 20'000, .hidden = 128, .blocks = 1, .intermediate = 1000}, 24}};
}

constexpr std::int64_t kAddedTokens = 3;

/// Documents of 3 to `length` tokens below `tokens`.
void write_documents(const std::filesystem::path& path, const Shape& shape, std::int64_t tokens) {
  test::TokenFile file{.offsets = {0}, .vocab_size = tokens};
  const auto vocabulary = static_cast<std::uint64_t>(tokens);
  const auto length = static_cast<std::uint64_t>(shape.length);
  for (std::uint64_t document = 0; document < 120; ++document) {
    for (std::uint64_t token = 0; token < 3 + document * 7 % (length - 2); ++token) {
      file.tokens.push_back(static_cast<std::uint32_t>((document * 31 + token * 5) % vocabulary));
    }
    file.offsets.push_back(file.tokens.size());
  }
  file.tokenizer_sha256 = data::tokenizer_sha256(test::tiny_tokenizer(tokens), "tokenizer");
  test::write_token_file(path, file);
}

class Plan : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    tensor::configure_process(1);
    folder_ = agree_on_text(testing::world(), [&] {
      own_.emplace();
      for (const Shape& shape : shapes()) {
        test::write_tiny_model(own_->path() / shape.name, shape.model);
        write_documents(own_->path() / (shape.name + ".h5"), shape, shape.model.vocabulary);
        const std::string added = shape.name + "-added";
        const std::int64_t tokens = shape.model.vocabulary + kAddedTokens;
        test::write_tiny_model(own_->path() / added, shape.model);
        write_file_atomically(own_->path() / added / "tokenizer.json", test::tiny_tokenizer(tokens));
        write_documents(own_->path() / (added + ".h5"), shape, tokens);
      }
      return own_->path().string();
    });
  }
  void TearDown() override { testing::world().barrier(); }

  [[nodiscard]] RunConfig config_for(const Shape& shape) const {
    RunConfig config = TinyRun(folder_).config("run-" + shape.name);
    config.run.steps = 2;
    config.schedule.warmup = {};
    config.data.sequence_length = shape.length;
    GetParam().change(config);
    const std::string name = shape.name + (config.model.added_tokens == "train" ? "-added" : "");
    config.model.path = folder_ / name;
    config.data.train = config.data.validation = folder_ / (name + ".h5");
    return config;
  }

  std::filesystem::path folder_;

 private:
  std::optional<test::TempDirectory> own_;
};

/// Bytes of tensors that training takes in this process at most.
std::int64_t measured_bytes(const RunConfig& config) {
  const std::int64_t before = tensor::memory_use().live;
  tensor::reset_peak_memory();
  train(config, testing::world());
  return tensor::memory_use().peak - before;
}

TEST_P(Plan, SaysTheMemoryThatARankTakes) {
  for (const Shape& shape : shapes()) {
    const RunConfig config = config_for(shape);
    const int rank = testing::world().rank();
    const RunPlan plan = plan_run(config, {.ranks = testing::world().size()});
    const std::int64_t planned = plan.ranks.at(static_cast<std::size_t>(rank)).memory.tensors;
    const std::int64_t measured = measured_bytes(config);
    std::printf("%s, %s, rank %d of %d: planned %ld bytes, measured %ld (%.3f)\n", GetParam().name.c_str(),
                shape.name.c_str(), rank, testing::world().size(), static_cast<long>(planned),
                static_cast<long>(measured), static_cast<double>(planned) / static_cast<double>(measured));
    EXPECT_NEAR(static_cast<double>(planned), static_cast<double>(measured), kAllowed * static_cast<double>(measured));
  }
}

TEST_P(Plan, SaysTheBytesThatARankSendsAndReceives) {
  const RunConfig config = config_for(shapes().front());
  const auto dtype = config.model.dtype == "bfloat16" ? DType::kBF16 : DType::kF32;
  TextTask::Parts parts{.model = model::load_language_model(config.model.path, dtype), .seed = RandomKey{7}};
  parts.added_tokens = added_tokens(config.model, *parts.model, config.model.path);
  parts.training =
      std::make_unique<data::TokenDataset>(config.data.train, data_use(config, *parts.model, config.model.path));
  const TextTask task(std::move(parts));
  comm::Trace trace;
  const auto traced = comm::traced(testing::borrowed(testing::world()), trace);
  Trial trial(config, task, {.total = 2, .warmup = 0}, *traced);
  trace = {};
  trial.update({.task = task}, nullptr);
  const RunPlan plan = plan_run(config, {.ranks = testing::world().size()});
  const RankPlan& own = plan.ranks.at(static_cast<std::size_t>(testing::world().rank()));
  std::printf("%s, rank %d of %d: planned %ld bytes out and %ld in, traced %ld and %ld\n", GetParam().name.c_str(),
              testing::world().rank(), testing::world().size(), static_cast<long>(own.bytes_sent),
              static_cast<long>(own.bytes_received), static_cast<long>(trace.total().bytes_sent),
              static_cast<long>(trace.total().bytes_received));
  EXPECT_EQ(own.bytes_sent, trace.total().bytes_sent);
  EXPECT_EQ(own.bytes_received, trace.total().bytes_received);
}

INSTANTIATE_TEST_SUITE_P(Cases, Plan, ::testing::ValuesIn(cases()),
                         [](const auto& instance) { return instance.param.name; });

}  // namespace
}  // namespace dormer::train
