#include <algorithm>
#include <array>
#include <cstddef>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "dormer/storage/checkpoint.hpp"
#include "dormer/storage/safetensors.hpp"
#include "support/program.hpp"

namespace dormer::cli {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

test::ProgramResult dormer(const std::string& arguments) {
  return test::run_program(DORMER_PROGRAM, arguments, DORMER_SOURCE);
}

/// One line, of an error.
MATCHER(IsOneErrorLine, "is one line of an error") {
  return arg.starts_with("error: ") && std::count(arg.begin(), arg.end(), '\n') == 1 && arg.ends_with('\n');
}

const std::array<std::byte, 16> kBytes{};

class ProgramFiles : public testing::Test {
 protected:
  [[nodiscard]] std::string path(const std::string& name) const { return (directory_.path() / name).string(); }
  void write(const std::string& name, const std::string& text) const { std::ofstream(path(name)) << text; }

 private:
  test::TempDirectory directory_;
};

TEST(Program, BadUsageIsExit2AndOneLineThatNamesTheHelp) {
  for (const std::string arguments : {"", "trian", "train", "train a b", "config show x --nope", "inspect"}) {
    const test::ProgramResult result = dormer(arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments;
    EXPECT_THAT(result.errors, AllOf(IsOneErrorLine(), HasSubstr("--help"))) << arguments;
    EXPECT_THAT(result.output, IsEmpty()) << arguments;
  }
}

TEST(Program, TellsTheHelpOfTheCommandThatWasNamed) {
  EXPECT_THAT(dormer("config show x --nope").errors, EndsWith("see dormer config show --help\n"));
}

class EveryCommand : public testing::TestWithParam<std::string> {};

TEST_P(EveryCommand, HasHelpWithAnExample) {
  const test::ProgramResult result = dormer(GetParam() + " --help");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.errors, IsEmpty());
  EXPECT_THAT(result.output, HasSubstr("Example:\n"));
  EXPECT_THAT(result.output.substr(result.output.find("Example:")), HasSubstr("dormer " + GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Commands, EveryCommand,
                         testing::Values("", "train", "plan", "evaluate", "generate", "export", "submit", "config",
                                         "config show", "config get", "config reference", "inspect", "verify", "bench",
                                         "bench kernels"));

TEST(Program, VersionNamesLibTorchAndTheBuild) {
  EXPECT_THAT(dormer("--version").output, testing::MatchesRegex("dormer [0-9.]+ \\(LibTorch [0-9.]+, [A-Za-z]+\\)\n"));
}

TEST(Program, OnlyRankZeroOfALaunchSpeaksOfBadUsage) {
  const test::ProgramResult result =
      test::run_program("env", "OMPI_COMM_WORLD_RANK=1 '" + std::string(DORMER_PROGRAM) + "' train", DORMER_SOURCE);
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.errors, IsEmpty());
}

TEST_F(ProgramFiles, ConfigShowPrintsWhatItReadsBack) {
  const test::ProgramResult first = dormer("config show configs/quickstart.yaml --set adapter.rank=8 --set run.seed=9");
  EXPECT_EQ(first.exit_code, 0);
  EXPECT_THAT(first.output, AllOf(HasSubstr("rank: 8\n"), HasSubstr("seed: 9\n"), HasSubstr("  - for: peft\n")));
  write("effective.yaml", first.output);
  EXPECT_EQ(dormer("config show " + path("effective.yaml")).output, first.output);
}

TEST_F(ProgramFiles, ConfigGetPrintsOneValue) {
  const std::string get = "config get run.directory configs/quickstart.yaml";
  EXPECT_EQ(dormer(get).output, "runs/quickstart\n");
  EXPECT_EQ(dormer(get + R"( --set 'run.directory="8 \"ranks\": a"')").output, "8 \"ranks\": a\n");
  EXPECT_EQ(dormer("config get batch.global configs/quickstart.yaml").output, "4\n");
  const test::ProgramResult result = dormer("config get run.diretcory configs/quickstart.yaml");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.errors, "error: run.diretcory: no such key; did you mean 'run.directory'?\n");
}

TEST_F(ProgramFiles, EveryMistakeOfAConfigurationIsALine) {
  write("bad.yaml", "run: {directory: a, stpes: 5}\nadapter: {use_dora: true}\n");
  const test::ProgramResult result = dormer("config show " + path("bad.yaml"));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.errors,
              StartsWith("error: " + path("bad.yaml") + ":1: run.stpes: unknown key; did you mean 'steps'?\n"));
  EXPECT_THAT(result.errors, HasSubstr("\nerror: " + path("bad.yaml") + ":2: adapter.use_dora: unknown key; write "));
}

TEST_F(ProgramFiles, AMissingConfigurationIsExit2) {
  const test::ProgramResult result = dormer("config show " + path("absent.yaml"));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.errors, "error: " + path("absent.yaml") + ": no such file\n");
}

TEST(Program, ConfigReferenceIsTheCommittedPage) {
  EXPECT_EQ(dormer("config reference").output, test::read_text(DORMER_SOURCE "/docs/configuration.md"));
}

TEST_F(ProgramFiles, InspectListsTensors) {
  const std::vector<storage::NamedArray> arrays{{"layer.weight", DType::kF32, {2, 2}, kBytes}};
  storage::write_safetensors(path("a.safetensors"), arrays, {{"format", "pt"}});
  const test::ProgramResult result = dormer("inspect " + path("a.safetensors"));
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.output, path("a.safetensors") + ": safetensors, 1 tensors\n  metadata format = pt\n" +
                               "  F32    [2, 2]             layer.weight\n");
}

TEST_F(ProgramFiles, InspectRefusesABrokenFileWithExit3) {
  write("a.safetensors", "no header");
  write("b.h5", "no signature");
  for (const char* name : {"a.safetensors", "b.h5"}) {
    const test::ProgramResult result = dormer("inspect " + path(name));
    EXPECT_EQ(result.exit_code, 3) << name;
    EXPECT_THAT(result.errors, AllOf(IsOneErrorLine(), HasSubstr(path(name))));
  }
  EXPECT_EQ(dormer("inspect " + path("absent")).exit_code, 2);
}

TEST_F(ProgramFiles, VerifyTellsGoodFromBadCheckpoints) {
  const std::vector<storage::NamedArray> arrays{{"values", DType::kF32, {4}, kBytes}};
  storage::write_checkpoint(path("checkpoints"), 20, arrays, "{}");
  const auto bad = storage::write_checkpoint(path("checkpoints"), 40, arrays, "{}");
  EXPECT_EQ(dormer("verify " + path("")).exit_code, 0);
  for (const auto& entry : std::filesystem::directory_iterator(bad)) {
    if (entry.path().extension() == ".h5") {
      std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(100);
      file.put('x');
    }
  }
  const test::ProgramResult result = dormer("verify " + path(""));
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.output, HasSubstr("step-000000020: good: update 20, 1 arrays, 16 bytes\n"));
  EXPECT_THAT(result.errors, AllOf(IsOneErrorLine(), HasSubstr("step-000000040")));
}

}  // namespace
}  // namespace dormer::cli
