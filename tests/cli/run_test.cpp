#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "dormer/storage/safetensors.hpp"
#include "support/program.hpp"
#include "support/tiny_model.hpp"

namespace dormer::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::MatchesRegex;

constexpr const char* kConfig = R"(
run:        {directory: run, seed: 7, steps: 6, device: cpu}
model:      {path: model, dtype: float32}
adapter:    {rank: 4, decompose: {axis: auto}}
data:       {train: train.h5, validation: validation.h5, sequence_length: 16}
batch:      {global: 8, micro: 2}
optimizer:  {learning_rate: 5.0e-3}
schedule:   {warmup: 2}
validation: {every: 2}
checkpoint: {every: 2}
)";

std::ptrdiff_t lines_of(const std::string& text) {
  return std::count(text.begin(), text.end(), '\n');
}

std::ptrdiff_t errors_in(const std::string& text) {
  std::ptrdiff_t count = 0;
  for (std::size_t at = text.find("error: "); at != std::string::npos; at = text.find("error: ", at + 1)) {
    ++count;
  }
  return count;
}

/// A tiny model, its data and its configuration in a folder where the program runs.
class ARun : public testing::Test {
 protected:
  ARun() {
    test::write_tiny_model(folder_.path() / "model");
    test::write_tiny_tokens(folder_.path() / "train.h5", 16 * 50 + 1, 1);
    test::write_tiny_tokens(folder_.path() / "validation.h5", 16 * 9 + 1, 2);
    std::ofstream(folder_.path() / "run.yaml") << kConfig;
  }
  [[nodiscard]] test::ProgramResult dormer(const std::string& arguments) const {
    return test::run_program(DORMER_PROGRAM, arguments, folder_.path());
  }
  [[nodiscard]] std::filesystem::path path(const std::string& name) const { return folder_.path() / name; }

 private:
  test::TempDirectory folder_;
};

TEST_F(ARun, IsPlannedWithoutTraining) {
  const test::ProgramResult result = dormer("plan run.yaml --ranks 2");
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("6 updates, 2 of warm-up"), HasSubstr("decomposed lora of rank 4 on 14 layers"),
                    HasSubstr("50 samples of 16 tokens"), HasSubstr("8 samples in 4 micro-batches of 2, 4 leaves"),
                    HasSubstr("rank 1     2 micro-batches, sends "), HasSubstr("\n  moments "),
                    HasSubstr("\nmachine    2 ranks: "), HasSubstr("\n           checkpoints ")));
  const test::ProgramResult json = dormer("plan run.yaml --ranks 2 --json");
  EXPECT_THAT(json.output, AllOf(HasSubstr("\"format\": \"dormer.plan/1\""), HasSubstr("\"updates\": 6")));
  EXPECT_THAT(dormer("plan run.yaml --gpu-memory 24GiB").output,
              HasSubstr("assumed for CUDA and its libraries: it fits"));
  EXPECT_THAT(dormer("plan run.yaml --gpu-memory 0.5GiB").output, HasSubstr("it does not fit"));
  EXPECT_EQ(dormer("plan run.yaml --gpu-memory large").exit_code, 2);
  EXPECT_FALSE(std::filesystem::exists(path("run")));
}

TEST_F(ARun, ItsModelIsMeasured) {
  const std::string sizes = "bench --model model --samples 2 --length 8 --rank 4 --rounds 2 --threads 1 ";
  const test::ProgramResult table = dormer(sizes + "--adapters lora,dora,dora-input,lokr-dora");
  EXPECT_EQ(table.exit_code, 0) << table.errors;
  EXPECT_THAT(table.output, AllOf(HasSubstr("best tokens/s"), HasSubstr("\nfloor "), HasSubstr("\ndora-input "),
                                  HasSubstr("\nlokr-dora "), HasSubstr("dora / lora time: best "),
                                  HasSubstr("peak memory of the host ")));
  EXPECT_THAT(dormer(sizes + "--json").output,
              MatchesRegex("\\{\"floor\": \\[[0-9.]+, [0-9.]+\\], \"lora\": .*, \"dora\": .*\\}\n"));
  const test::ProgramResult wrong = dormer(sizes + "--adapters lora,mora");
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_THAT(wrong.errors, AllOf(HasSubstr("'mora'"), HasSubstr("lokr")));
  EXPECT_EQ(lines_of(wrong.errors), 1);
}

TEST_F(ARun, TrainsAndTellsRateLossAndTimeLeft) {
  const test::ProgramResult result = dormer("train run.yaml");
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.errors, testing::ContainsRegex("update 6/6  loss [0-9.]+  [0-9]+ tokens/s  0 s left"));
  EXPECT_THAT(result.errors, testing::ContainsRegex("held-out loss [0-9.]+ -> [0-9.]+"));
  EXPECT_EQ(lines_of(test::read_text(path("run/metrics.jsonl"))), 7) << "one for the start, one for each update";
  const test::ProgramResult again = dormer("train run.yaml");
  EXPECT_EQ(again.exit_code, 0);
  EXPECT_THAT(again.errors, HasSubstr("nothing to"));
}

TEST_F(ARun, IsSilentWhenAskedTo) {
  const test::ProgramResult result = dormer("train run.yaml --quiet --set run.steps=1 --set schedule.warmup=0");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.errors, "");
}

TEST_F(ARun, IsReportedAloneAndBesideAnother) {
  ASSERT_EQ(dormer("train run.yaml --quiet").exit_code, 0);
  EXPECT_THAT(test::read_text(path("run/report.html")), HasSubstr("Finished. Update 6 of 6."));
  std::filesystem::remove(path("run/report.html"));
  const test::ProgramResult alone = dormer("report run --still");
  EXPECT_EQ(alone.exit_code, 0) << alone.errors;
  EXPECT_EQ(alone.output, "run/report.html\n");
  EXPECT_THAT(test::read_text(path("run/report.html")),
              AllOf(HasSubstr("<figure id=\"plot-layers\">"), HasSubstr("still pictures")));
  ASSERT_EQ(dormer("train run.yaml --quiet --set run.directory=other --set adapter.rank=8").exit_code, 0);
  EXPECT_EQ(dormer("report run other --still --output compared.html").output, "compared.html\n");
  EXPECT_THAT(test::read_text(path("compared.html")),
              HasSubstr("<th scope=\"row\">adapter.rank</th><td>4</td><td>8</td>"));
  EXPECT_EQ(dormer("report nowhere").exit_code, 2);
  EXPECT_THAT(dormer("report model").errors, HasSubstr("model: holds no metrics.jsonl; name a run directory"));
  EXPECT_EQ(dormer("report model").exit_code, 3);
  EXPECT_EQ(dormer("report run --output nowhere/page.html").exit_code, 4);
}

TEST_F(ARun, TracesTheUpdateThatIsAskedFor) {
  EXPECT_EQ(dormer("train run.yaml --trace 2").exit_code, 0);
  EXPECT_TRUE(std::filesystem::exists(path("run/trace/update-000000002.safetensors")));
}

TEST_F(ARun, IsEvaluatedFromItsConfiguration) {
  const test::ProgramResult quiet = dormer("evaluate run.yaml --quiet");
  EXPECT_EQ(quiet.exit_code, 0) << quiet.errors;
  EXPECT_THAT(quiet.output, MatchesRegex("[0-9]+\\.[0-9]+\n"));
  EXPECT_NEAR(std::strtod(quiet.output.c_str(), nullptr), 5.545, 0.5) << "a random model of 256 tokens: ln 256";
  EXPECT_THAT(dormer("evaluate --model model --data validation.h5 --sequence-length 16 --samples 3").output,
              MatchesRegex("held-out loss [0-9.]+ \\(3 samples of 16 tokens\\)\n"));
}

TEST_F(ARun, TheFirstSamplesLogitsAreWrittenOnRequest) {
  const test::ProgramResult done =
      dormer("evaluate run.yaml --quiet --samples 1 --micro 1 --dtype float32 --logits out/logits.safetensors");
  ASSERT_EQ(done.exit_code, 4) << "no such folder";
  EXPECT_THAT(done.errors, HasSubstr("out/logits.safetensors"));
  const test::ProgramResult again =
      dormer("evaluate run.yaml --quiet --samples 1 --micro 1 --dtype float32 --logits logits.safetensors");
  ASSERT_EQ(again.exit_code, 0) << again.errors;
  const auto file = storage::SafetensorsFile::open(path("logits.safetensors"));
  const auto values = [&](const char* name) { return file->bytes(*file->find(name)); };
  const auto* tokens = reinterpret_cast<const std::int64_t*>(values("tokens").data());
  const auto* logits = reinterpret_cast<const float*>(values("logits").data());
  const std::vector<std::int64_t>& shape = file->find("logits")->shape;
  ASSERT_EQ(file->find("tokens")->shape, std::vector<std::int64_t>{shape[0] + 1});
  double loss = 0.0;
  for (std::int64_t position = 0; position < shape[0]; ++position) {
    const float* row = logits + position * shape[1];
    double sum = 0.0;
    for (std::int64_t token = 0; token < shape[1]; ++token) {
      sum += std::exp(static_cast<double>(row[token]));
    }
    loss += std::log(sum) - static_cast<double>(row[tokens[position + 1]]);
  }
  EXPECT_NEAR(loss / static_cast<double>(shape[0]), std::stod(again.output), 2e-6) << "six printed decimals";
}

TEST_F(ARun, ContinuesTokens) {
  const test::ProgramResult first =
      dormer("generate --model model --tokens 1,2,3 --max-new-tokens 5 --temperature 1 --seed 3");
  EXPECT_EQ(first.exit_code, 0) << first.errors;
  EXPECT_THAT(first.output, MatchesRegex("[0-9,]*\n"));
  std::ofstream(path("prompt.txt")) << "1 2\n3\n";
  EXPECT_EQ(
      dormer("generate --model model --tokens-file prompt.txt --max-new-tokens 5 --temperature 1 --seed 3").output,
      first.output);
  EXPECT_THAT(dormer("generate --model model --tokens 1 --max-new-tokens 2 --json").output,
              MatchesRegex("\\{\"tokens\": \\[.*\\], \"log_probabilities\": \\[.*\\], \"ending\": \"[a-z_]+\"\\}\n"));
}

TEST_F(ARun, IsExportedAndItsAdapterGivesTheHeldOutLossOfTheRun) {
  const std::string wish = " --set 'export=[{for: peft}]'";
  const test::ProgramResult trained = dormer("train run.yaml" + wish);
  ASSERT_EQ(trained.exit_code, 0) << trained.errors;
  const test::ProgramResult base = dormer("evaluate run.yaml --quiet");
  const test::ProgramResult adapted = dormer("evaluate run.yaml --quiet --adapter run/export/peft");
  EXPECT_EQ(adapted.exit_code, 0) << adapted.errors;
  EXPECT_LT(std::stod(adapted.output), std::stod(base.output));
  EXPECT_THAT(trained.errors, HasSubstr(fmt::format("held-out loss {:.4f} -> {:.4f}", std::stod(base.output),
                                                    std::stod(adapted.output))));
  const std::string exported = test::read_text(path("run/export/peft/adapter_model.safetensors"));
  std::filesystem::remove_all(path("run/export"));
  const test::ProgramResult again = dormer("export run.yaml" + wish);
  EXPECT_EQ(again.exit_code, 0) << again.errors;
  EXPECT_EQ(again.output, "run/export/peft\n");
  EXPECT_TRUE(test::read_text(path("run/export/peft/adapter_model.safetensors")) == exported) << "from the checkpoint";
  EXPECT_EQ(dormer("verify run").exit_code, 0);
  const std::string line = "generate --model model --tokens 1,2,3 --max-new-tokens 8 --dtype float32 --json";
  const test::ProgramResult continued = dormer(line + " --adapter run/export/peft");
  EXPECT_EQ(continued.exit_code, 0) << continued.errors;
  EXPECT_NE(continued.output, dormer(line).output) << "the adapter changes the probabilities";
}

TEST_F(ARun, InspectTellsWhatEachPartIs) {
  ASSERT_EQ(
      dormer(
          "train run.yaml --set 'export=[{for: peft}]' --set 'adapter.overrides=[{match: \"*.down_proj\", rank: 2}]'")
          .exit_code,
      0);
  const auto inspected = [&](const std::string& thing) {
    const test::ProgramResult result = dormer("inspect " + thing);
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    return result.output;
  };
  EXPECT_THAT(inspected("model"), AllOf(HasSubstr("a language model of the family llama"),
                                        HasSubstr("2 blocks of width 64"), HasSubstr("parameters in float32, 1 file"),
                                        HasSubstr("   2 x mlp.down_proj          mlp         [64, 112]")));
  EXPECT_THAT(inspected("train.h5"), AllOf(HasSubstr("a token set"), HasSubstr("801 in "), HasSubstr("no loss mask")));
  EXPECT_THAT(inspected("run/export/peft"),
              AllOf(HasSubstr("an adapter in the form peft: lora decomposed by output"),
                    HasSubstr("mlp.down_proj [64, 112] lora of rank 2, alpha"),
                    HasSubstr("2 x model.layers.*.mlp.up_proj [112, 64] lora of rank 4, alpha 4, scale 1")));
  EXPECT_THAT(inspected("run/checkpoints/step-000000006"),
              AllOf(HasSubstr("6 of 6 updates, 48 samples, finished"), HasSubstr("validation loss, best")));
  EXPECT_THAT(inspected("run"),
              AllOf(HasSubstr("checkpoint run/checkpoints/step-000000006"), HasSubstr("export     run/export/peft")));
  EXPECT_THAT(inspected("run/export/peft --arrays"), HasSubstr("lora_magnitude_vector"));
  EXPECT_EQ(dormer("inspect .").exit_code, 2);
}

TEST_F(ARun, BadInputHasItsExitCodeAndOneLine) {
  const std::vector<std::pair<std::string, int>> cases{{"evaluate --data validation.h5", 2},
                                                       {"evaluate run.yaml --set data.validation=absent.h5", 3},
                                                       {"evaluate run.yaml --set data.validation=null", 2},
                                                       {"train run.yaml --set model.path=absent", 3},
                                                       {"train run.yaml --set adapter.targets=nothing", 2},
                                                       {"train run.yaml --set data.sequence_length=129", 2},
                                                       {"export run.yaml", 2},
                                                       {"export run.yaml --set 'export=[{for: peft}]'", 2},
                                                       {"generate --model model", 2},
                                                       {"generate --model model --tokens 1,x", 2},
                                                       {"generate --model model --tokens 256", 3},
                                                       {"generate --model model --tokens-file absent", 3}};
  for (const auto& [arguments, code] : cases) {
    const test::ProgramResult result = dormer(arguments);
    EXPECT_EQ(result.exit_code, code) << arguments << '\n' << result.errors;
    EXPECT_EQ(errors_in(result.errors), 1) << arguments << '\n' << result.errors;
  }
}

#ifdef DORMER_MPIRUN
TEST_F(ARun, OfTwoRanksEndsAsOneWithOneLine) {
  const std::vector<std::pair<std::string, int>> cases{{"train absent.yaml", 2},
                                                       {"train run.yaml --set run.steps=0", 2},
                                                       {"train run.yaml --set model.path=absent", 3},
                                                       {"evaluate run.yaml --set data.validation=absent.h5", 3}};
  for (const auto& [arguments, code] : cases) {
    const test::ProgramResult result =
        test::run_program(DORMER_MPIRUN, "2 '" + std::string(DORMER_PROGRAM) + "' " + arguments, path(""));
    EXPECT_EQ(result.exit_code, code) << arguments << '\n' << result.errors;
    EXPECT_EQ(errors_in(result.errors), 1) << arguments << '\n' << result.errors;
  }
}
#endif

}  // namespace
}  // namespace dormer::cli
