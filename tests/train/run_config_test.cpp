#include "dormer/train/run_config.hpp"

#include <fstream>
#include <iterator>

#include <gmock/gmock.h>

#include "dormer/config/tree.hpp"
#include "dormer/config/write.hpp"
#include "dormer/core/error.hpp"
#include "dormer/interop/consumer.hpp"
#include "support/temp_directory.hpp"

namespace dormer::train {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

constexpr const char* kSmall = "run: {directory: runs/a, steps: 10}\nmodel: {path: m}\ndata: {train: t.h5}\n";

RunConfig loaded(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const test::TempDirectory directory;
  std::ofstream(directory.path() / "run.yaml") << text;
  return load_run_config(directory.path() / "run.yaml", overrides);
}

std::string message_of(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    static_cast<void>(loaded(text, overrides));
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), 2);
    return error.what();
  }
  return "accepted";
}

RunConfig valid() {
  return loaded(kSmall);
}

// The file of the contract with users' scripts, whole.
constexpr const char* kContract = R"(
run:        {directory: runs/manpages, name: manpages, seed: 7, steps: 60, resume: auto, device: auto, threads: 1, time_limit: auto}
model:      {path: models/smollm2-135m, dtype: auto}
adapter:
  kind: lora
  rank: 16
  alpha: 32
  rank_stabilized: false
  decompose: {axis: auto}
  targets: all-linear
  init_from: null
  overrides: []
data:       {kind: tokens, train: data/train.h5, validation: data/validation.h5, sequence_length: 256, packing: blocks, shuffle: true}
batch:      {global: 8, micro: 2}
objective:  {kind: next_token}
optimizer:  {kind: adamw, learning_rate: 5.0e-4, betas: [0.9, 0.999], epsilon: 1.0e-8, weight_decay: 0.0, max_gradient_norm: 1.0}
schedule:   {kind: cosine, warmup: 5}
parallel:   {reduction: auto, shard_optimizer: true}
validation: {every: 20, samples: 64, keep_best: true, patience: null}
checkpoint: {every: 15 min, keep: {last: 2, best: 1}}
export:     [{for: peft, every: null, dtype: float32, name: manpages}]
)";

TEST(RunConfig, ReadsTheContract) {
  const RunConfig config = loaded(kContract);
  EXPECT_EQ(config.run.steps, 60);
  EXPECT_EQ(config.adapter.scale(), 2.0);
  EXPECT_TRUE(config.adapter.decompose.has_value());
  EXPECT_EQ(config.checkpoint.every, config::Cadence::seconds(900));
  ASSERT_EQ(config.exports.size(), 1U);
  EXPECT_EQ(config.exports[0].consumer, "peft");
  EXPECT_EQ(loaded(config::dump(config)).exports[0].name, "manpages")
      << "the effective configuration is a configuration";
  EXPECT_EQ(config::flatten(loaded(config::dump(config))), config::flatten(config));
}

TEST(RunConfig, AlphaIsTheRankUnlessItIsGiven) {
  EXPECT_EQ(valid().adapter.scale(), 1.0);
  EXPECT_EQ(loaded(kSmall, {"adapter.rank=8", "adapter.alpha=2*rank"}).adapter.alpha_value(), 16.0);
}

TEST(RunConfig, TheNameComesFromTheDirectoryWhereItIsNotGiven) {
  RunConfig config;
  for (const auto& [directory, name] : std::map<std::string, std::string>{{"runs/manpages", "manpages"},
                                                                          {"runs/manpages/", "manpages"},
                                                                          {"runs/x/../y", "y"},
                                                                          {".", "run"},
                                                                          {"..", "run"}}) {
    config.run.directory = directory;
    EXPECT_EQ(config.name(), name) << directory;
  }
  config.run.name = "mine";
  EXPECT_EQ(config.name(), "mine");
}

TEST(RunConfig, WantsExactlyOneLength) {
  EXPECT_THAT(message_of(kSmall, {"run.steps=null"}),
              HasSubstr("run.steps: is missing; write run.steps or run.epochs"));
  EXPECT_THAT(message_of(kSmall, {"run.epochs=2"}), HasSubstr("write exactly one of them"));
  EXPECT_EQ(loaded(kSmall, {"run.steps=null", "run.epochs=0.5"}).run.epochs, 0.5);
}

struct Rule {
  std::string override_line;
  std::string expected;
};
class EveryRule : public testing::TestWithParam<Rule> {};

TEST_P(EveryRule, IsAnErrorThatNamesTheKeyAndTheRemedy) {
  EXPECT_THAT(message_of(kSmall, {GetParam().override_line}), HasSubstr(GetParam().expected));
}

INSTANTIATE_TEST_SUITE_P(
    Rules, EveryRule,
    testing::Values(
        Rule{"batch.micro=3", "batch.micro: 3 does not divide batch.global, 8"},
        Rule{"optimizer.betas=[0.9]", "optimizer.betas: must be two numbers"},
        Rule{"optimizer.betas=[0.9, 1.0]", "optimizer.betas: must be two numbers, each at least 0 and below 1"},
        Rule{"optimizer.epsilon=0", "optimizer.epsilon: must be above 0, is 0"},
        Rule{"optimizer.kind=adam", "'adam' is not one of adamw"},
        Rule{"model.dtype=float16", "model.dtype: float16 has no kernels here"},
        Rule{"adapter.alpha=2*rnak", "unknown name 'rnak'; did you mean 'rank'?"},
        Rule{"adapter.alpha=rank-16", "adapter.alpha: must be above 0, is 0"},
        Rule{"adapter.layers=3-1", "adapter.layers: '3-1' has a range that ends before it begins"},
        Rule{"adapter.overrides=[{rank: 4}]", "match"},
        Rule{"adapter.overrides=[{match: a, stop_after: 0}]", "stop_after: must be at least 1"},
        Rule{"adapter.dropout=1", "adapter.dropout: must be between 0 and 0.999"},
        Rule{"optimizer.loraplus_ratio=0", "optimizer.loraplus_ratio: must be above 0, is 0"},
        Rule{"adapter.targets=[]", "adapter.targets: must name at least one pattern"},
        Rule{"adapter.decompose={axis: rows}", "'rows' is not one of auto, output, input"},
        Rule{"adapter.kind=lohe", "'lohe' is not one of lora, locon, loha, lokr, full"},
        Rule{"adapter={profile: peft, decompose: {axis: input}}",
             "profile: peft has no input axis; write axis: output"},
        Rule{"adapter.start=svd", "'svd' is not one of kaiming, gaussian, pissa, pissa_fast, olora, eva"},
        Rule{"adapter.start_iterations=4",
             "adapter.start_iterations: start: kaiming has none; write start: pissa_fast"},
        Rule{"adapter={start: olora, init_from: a}",
             "adapter.start: olora makes the factors that adapter.init_from brings"},
        Rule{"adapter={start: eva, init_from: a}",
             "adapter.start: eva makes the factors that adapter.init_from brings"},
        Rule{"adapter.start_samples=4", "adapter.start_samples: start: kaiming reads none; write start: eva"},
        Rule{"adapter={start: eva, start_samples: 0}", "adapter.start_samples: must be between 1 and 1000000"},
        Rule{"adapter.factor=0", "adapter.factor: is -1 or a number of at least 1"},
        Rule{"export=[{for: peft}, {for: peft}]", "export.1.name: a second export for peft under the name 'a'"},
        Rule{"export=[{for: peft, name: a/b}]", "export.0.name: names a folder"},
        Rule{"run.name=../up", "run.name: names folders"},
        Rule{"schedule.warmup=11", "schedule.warmup: 11 updates of warm-up are more than the run's 10"},
        Rule{"schedule.cycles=3",
             "schedule.cycles: kind: cosine does not know it; take it away, or write kind: cosine_restarts"},
        Rule{"schedule.power=2", "or write kind: polynomial"},
        Rule{"schedule={kind: constant, minimum_factor: 0.1}",
             "schedule.minimum_factor: kind: constant does not know it"},
        Rule{"schedule.minimum_factor=1", "schedule.minimum_factor: must be below 1"},
        Rule{"optimizer={kind: lion, epsilon: 1.0e-6}", "optimizer.epsilon: kind: lion does not know it"},
        Rule{"optimizer={kind: adafactor, betas: [0.8, 0.9]}", "optimizer.betas: kind: adafactor does not know it"},
        Rule{"optimizer.adafactor={relative_step: false}", "optimizer.adafactor: kind: adamw does not know it"},
        Rule{"optimizer={kind: came, came: {confidence_beta: 1}}", "optimizer.came.confidence_beta: must be below 1"},
        Rule{"optimizer={kind: prodigy}", "optimizer.learning_rate: prodigy finds its own rate"},
        Rule{"optimizer={kind: prodigy, learning_rate: 1.0, prodigy: {growth_rate: 1}}",
             "optimizer.prodigy.growth_rate: must be above 1"},
        Rule{"optimizer={kind: schedule_free_adamw}",
             "schedule.kind: optimizer.kind: schedule_free_adamw averages instead; write kind: constant"},
        Rule{"validation.patience=2", "validation.patience: needs a held-out data set"},
        Rule{"checkpoint.keep.last=0", "checkpoint.keep.last: must be at least 1"}));

struct Foreign {
  std::string override_line;
  std::string expected;
};
class EveryForeignName : public testing::TestWithParam<Foreign> {};

TEST_P(EveryForeignName, IsAnsweredWithTheLinesToWrite) {
  EXPECT_THAT(message_of(kSmall, {GetParam().override_line}), HasSubstr(GetParam().expected));
}

INSTANTIATE_TEST_SUITE_P(
    Names, EveryForeignName,
    testing::Values(Foreign{"adapter.r=8", "write \"adapter: {rank: 8}\""},
                    Foreign{"lora_r=8", "write \"adapter: {rank: 8}\""},
                    Foreign{"network_dim=8", "write \"adapter: {rank: 8}\""},
                    Foreign{"adapter.lora_alpha=32", "write \"adapter: {alpha: 32}\""},
                    Foreign{"network_alpha=4", "write \"adapter: {alpha: 4}\""},
                    Foreign{"adapter.use_dora=true", "write \"adapter: {decompose: {axis: auto}}\""},
                    Foreign{"adapter.use_dora=false", "without \"decompose\" the adapter is the plain kind"},
                    Foreign{"dora_wd=true", "write \"adapter: {decompose: {axis: auto}}\""},
                    Foreign{"adapter.kind=dora", "write \"adapter: {kind: lora, decompose: {axis: auto}}\""},
                    Foreign{"adapter.lora_dropout=0.1", "write \"adapter: {dropout: 0.1}\""},
                    Foreign{"init_lora_weights=true", "leave it out"},
                    Foreign{"init_lora_weights=eva", "write \"adapter: {start: eva}\""},
                    Foreign{"init_lora_weights=pissa", "write \"adapter: {start: pissa}\""},
                    Foreign{"init_lora_weights=pissa_niter_16",
                            "write \"adapter: {start: pissa_fast, start_iterations: 16}\""},
                    Foreign{"use_rslora=true", "write \"adapter: {rank_stabilized: true}\""},
                    Foreign{"modules_to_save=[down_proj]", "overrides: [{match: down_proj, kind: full}]"},
                    Foreign{"trainable_token_indices=[7]", "write \"model: {added_tokens: train}\""},
                    Foreign{"target_modules=[q_proj]", "write \"adapter: {targets: [q_proj, v_proj]}\""},
                    Foreign{"optimizer.lr=1e-4", "write \"optimizer: {learning_rate: 1e-4}\""},
                    Foreign{"max_grad_norm=1", "write \"optimizer: {max_gradient_norm: 1}\""},
                    Foreign{"lr_scheduler_type=cosine", "write \"schedule: {kind: cosine}\""},
                    Foreign{"warmup_steps=5", "write \"schedule: {warmup: 5}\""},
                    Foreign{"warmup_ratio=0.03", "write \"schedule: {warmup: 3%}\", the share (0.03) in percent"},
                    Foreign{"per_device_train_batch_size=2", "write \"batch: {global: …, micro: 2}\""},
                    Foreign{"gradient_accumulation_steps=4", "accumulation follows from the ranks"},
                    Foreign{"num_train_epochs=3", "write \"run: {epochs: 3}\""},
                    Foreign{"max_steps=30", "write \"run: {steps: 30}\""},
                    Foreign{"max_seq_length=512", "write \"data: {sequence_length: 512}\""},
                    Foreign{"output_dir=out", "write \"run: {directory: out}\""},
                    Foreign{"bf16=true", "write \"model: {dtype: bfloat16}\""},
                    Foreign{"fp16=true", "write \"model: {dtype: auto}\""}));

/// Programs of which two know the input axis alone, and no rows of tokens; one computes both axes and prefers the input
/// axis, one computes no decomposed adapter.
Registry<interop::Consumer> some_consumers() {
  const interop::Consumer input{.doc = "", .format = "", .axes = {"input"}, .kinds = {"lora", "loha"}};
  Registry<interop::Consumer> consumers;
  consumers.add("peft", interop::consumer_registry().get("for", "peft"));
  consumers.add("merged", interop::consumer_registry().get("for", "merged"));
  consumers.add("kohya", input);
  consumers.add("comfyui", input);
  consumers.add("onetrainer", {.doc = "", .format = "", .axes = {"input", "output"}});
  consumers.add("vllm", {.doc = "", .format = ""});
  return consumers;
}

TEST(Check, SettlesTheAxisByTheExports) {
  const Registry<interop::Consumer> consumers = some_consumers();
  RunConfig config = valid();
  config.adapter.decompose.emplace();
  const auto settled = [&](std::vector<const char*> names) {
    config.exports.resize(names.size());
    for (std::size_t i = 0; i < names.size(); ++i) {
      config.exports[i].consumer = names[i];
    }
    return settled_axis(config, consumers);
  };
  EXPECT_EQ(settled({}), "output");
  EXPECT_EQ(settled({"peft"}), "output");
  EXPECT_EQ(settled({"merged"}), "output");
  EXPECT_EQ(settled({"kohya"}), "input");
  EXPECT_EQ(settled({"merged", "kohya"}), "input");
  EXPECT_EQ(settled({"onetrainer"}), "input");
  EXPECT_EQ(settled({"onetrainer", "peft"}), "output");
}

TEST(Check, RefusesDecomposedAdaptersForProgramsWithoutThem) {
  RunConfig config = valid();
  config.exports.resize(1);
  config.exports[0].consumer = "vllm";
  EXPECT_THAT(check(config, some_consumers()), IsEmpty());
  config.adapter.decompose.emplace();
  EXPECT_THAT(check(config, some_consumers()),
              ElementsAre(StartsWith("export.0.for: vllm computes no decomposed adapter; export for merged")));
}

TEST(Check, RefusesExportsThatCannotHoldAKind) {
  const Registry<interop::Consumer> consumers = some_consumers();
  RunConfig config = valid();
  config.exports.resize(1);
  config.exports[0].consumer = "kohya";
  EXPECT_THAT(check(config, consumers), IsEmpty());
  config.adapter.overrides.push_back({.match = "down_proj", .kind = "full"});
  EXPECT_THAT(check(config, consumers),
              ElementsAre(StartsWith("export.0.for: kohya holds adapters of kind lora and loha, not full")));
  config.exports[0].consumer = "peft";
  EXPECT_THAT(check(config), IsEmpty());
  config.adapter.kind = "loha";
  EXPECT_THAT(check(config), IsEmpty());
  config.exports[0].consumer = "diffusers";
  EXPECT_THAT(check(config), ElementsAre(StartsWith("export.0.for: diffusers holds adapters of kind"),
                                         StartsWith("export.0.for: diffusers holds adapters of kind")));
  config.exports[0].consumer = "merged";
  EXPECT_THAT(check(config), IsEmpty());
}

TEST(Check, RefusesExportsThatCannotHoldAddedTokens) {
  RunConfig config = valid();
  config.exports.resize(1);
  config.model.added_tokens = "train";
  for (const char* consumer : {"peft", "merged"}) {
    config.exports[0].consumer = consumer;
    EXPECT_THAT(check(config), IsEmpty());
  }
  config.exports[0].consumer = "comfyui";
  EXPECT_THAT(check(config, some_consumers()), ElementsAre(HasSubstr("comfyui reads no rows of added tokens")));
}

TEST(Check, RefusesExportsThatReadDifferentAxes) {
  const Registry<interop::Consumer> consumers = some_consumers();
  RunConfig config = valid();
  config.adapter.decompose.emplace();
  config.exports.resize(2);
  config.exports[0].consumer = "peft";
  config.exports[1].consumer = "kohya";
  EXPECT_THAT(check(config, consumers),
              ElementsAre(HasSubstr("kohya reads the norms of input channels and peft those of output rows")));
  config.exports[0].consumer = "comfyui";
  config.adapter.decompose->axis = "output";
  EXPECT_THAT(check(config, consumers),
              ElementsAre(StartsWith("adapter.decompose.axis: kohya cannot read the output axis")));
  config.exports.resize(1);
  config.exports[0].consumer = "peft";
  config.adapter.decompose->axis = "input";
  EXPECT_THAT(check(config), ElementsAre(StartsWith("adapter.decompose.axis: peft cannot read the input axis")));
  config.adapter.decompose->axis = "auto";
  EXPECT_THAT(check(config), IsEmpty());
  config.adapter.profile = "onetrainer";
  EXPECT_THAT(check(config), ElementsAre(StartsWith("adapter.decompose.axis: peft cannot read the input axis")))
      << "the profile's axis is as good as a written one";
  config.exports[0].consumer = "merged";
  EXPECT_THAT(check(config), IsEmpty()) << "merged weights have no axis";
  config.exports[0].consumer = "kohya";
  config.adapter.decompose.reset();
  EXPECT_THAT(check(config, consumers), IsEmpty()) << "a plain LoRA has no axis";
}

ResumeComparison compare(const std::vector<std::string>& overrides) {
  return compare_for_resume(config::flatten(valid()), config::flatten(loaded(kSmall, overrides)));
}

TEST(CompareForResume, AllowsCadenceExportsNameAndTimeLimit) {
  const ResumeComparison result =
      compare({"checkpoint.every=5", "checkpoint.keep.last=9", "validation.every=3", "run.name=other",
               "run.time_limit=1 h", "export=[{for: peft}]", "run.directory=moved"});
  EXPECT_THAT(result.refused, IsEmpty());
  EXPECT_THAT(result.inexact, IsEmpty());
  EXPECT_THAT(result.allowed, testing::Contains("run.time_limit: auto -> 1 h"));
  EXPECT_THAT(result.allowed, testing::Contains("export.0.for: absent -> peft"));
}

TEST(CompareForResume, KeysThatAnOlderVersionDidNotHaveCountAsTheirDefaults) {
  std::map<std::string, std::string> stored = config::flatten(valid());
  std::map<std::string, std::string> current = stored;
  ASSERT_EQ(stored.erase("text.tokenizer") + stored.erase("optimizer.weight_decay"), 2U);
  EXPECT_THAT(compare_for_resume(stored, current).refused, IsEmpty());
  current["text.tokenizer"] = "elsewhere";
  EXPECT_THAT(compare_for_resume(stored, current).refused.size(), 1U);
}

TEST(CompareForResume, SaysWhatMayChangeTheBits) {
  EXPECT_THAT(compare({"run.threads=2"}).inexact, ElementsAre("run.threads: 1 -> 2"));
}

TEST(CompareForResume, MoreStepsNeedExtend) {
  EXPECT_THAT(compare({"run.steps=20"}).refused, ElementsAre(StartsWith("run.steps: 10 -> 20 (more updates need")));
  EXPECT_THAT(compare({"run.steps=20", "schedule.extend=keep"}).refused, IsEmpty());
  EXPECT_THAT(compare({"run.steps=5", "schedule.extend=keep"}).refused, ElementsAre("run.steps: 10 -> 5"));
  EXPECT_THAT(compare({"run.steps=null", "run.epochs=1", "schedule.extend=keep"}).refused.size(), 2U);
}

TEST(CompareForResume, RefusesEverythingElseWithTheDifference) {
  EXPECT_THAT(
      compare({"adapter.rank=8", "optimizer.learning_rate=1e-3", "adapter.decompose={}"}).refused,
      ElementsAre("adapter.decompose: null -> absent", "adapter.decompose.axis: absent -> output",
                  "adapter.decompose.epsilon: absent -> 0.0", "adapter.decompose.norm_gradient: absent -> false",
                  "adapter.rank: 16 -> 8", "optimizer.learning_rate: 0.0002 -> 0.001"));
}

TEST(Configs, EveryShippedOneLoads) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(DORMER_SOURCE "/configs")) {
    if (config::Document::parse(config::Source::from_file(entry.path())).root.find("sweep") != nullptr) {
      continue;  // repo.configs_load looks at those
    }
    EXPECT_NO_THROW(static_cast<void>(load_run_config(entry.path()))) << entry.path();
    ++count;
  }
  EXPECT_GE(count, 2);
}

TEST(Documentation, OfTheConfigurationIsWhatTheProgramSays) {
  std::ifstream file(DORMER_SOURCE "/docs/configuration.md");
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  EXPECT_TRUE(text.starts_with(configuration_page()))
      << "write it again: dormer config reference > docs/configuration.md";
}

}  // namespace
}  // namespace dormer::train
