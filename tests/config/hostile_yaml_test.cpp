#include <string>

#include <gmock/gmock.h>

#include "config/sample_config.hpp"
#include "dormer/config/read.hpp"
#include "dormer/core/error.hpp"

namespace dormer::config {
namespace {

std::string repeated(const std::string& part, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) {
    result += part;
  }
  return result;
}

/// Nine levels of nine references: 9^9 values when written out.
std::string alias_bomb() {
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n";
  for (int level = 1; level < 9; ++level) {
    text += fmt::format("a{}: &a{} [", level, level) + repeated(fmt::format("*a{}, ", level - 1), 9) + "]\n";
  }
  return text;
}

struct Hostile {
  std::string name;
  std::string text;
  std::string expected;
};
void PrintTo(const Hostile& hostile, std::ostream* out) {
  *out << hostile.name;
}

class EveryHostileYaml : public testing::TestWithParam<Hostile> {};

TEST_P(EveryHostileYaml, IsOneUsageErrorWithAPlace) {
  try {
    static_cast<void>(load<SampleConfig>({.name = "a.yaml", .text = GetParam().text}));
    ADD_FAILURE() << "was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), 2);
    EXPECT_THAT(error.what(), testing::MatchesRegex("a.yaml:[0-9]+: [^\n]*"));
    EXPECT_THAT(error.what(), testing::HasSubstr(GetParam().expected));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Documents, EveryHostileYaml,
    testing::Values(Hostile{"empty", "", "empty"}, Hostile{"only_a_comment", "# nothing\n", "empty"},
                    Hostile{"a_list", "- a\n- b\n", "the file holds a list"},
                    Hostile{"a_word", "word", "a single value"},
                    Hostile{"tab", "training:\n\tsteps: 1\n", "a.yaml:2: a tab"},
                    Hostile{"two_documents", "name: a\n---\nname: b\n", "more than one YAML document"},
                    Hostile{"alias_bomb", alias_bomb(), "more than 20000 values"},
                    Hostile{"many_aliases", "a: &a 1\nb: [" + repeated("*a, ", 100) + "]\n", "more than 64 aliases"},
                    Hostile{"alias_of_itself", "a: &a [*a]\n", "inside of what it refers to"},
                    Hostile{"unknown_alias", "a: *b\n", "not valid YAML"},
                    Hostile{"deep_lists", repeated("[", 100'000), "64 levels"},
                    Hostile{"deep_maps", repeated("{a: ", 100'000), "64 levels"},
                    Hostile{"deep_blocks", repeated("- ", 100'000), "64 levels"},
                    Hostile{"many_values", "a: [" + repeated("1, ", 30'000) + "]\n", "more than 20000 values"},
                    Hostile{"not_utf8", std::string("name: a\nnote: \xff\xfe\n"), "a.yaml:2: byte 14 is not UTF-8"},
                    Hostile{"overlong_utf8", std::string("name: \xc0\xaf\n"), "is not UTF-8"},
                    Hostile{"zero_byte", std::string("name: a\0b\n", 10), "a zero byte"},
                    Hostile{"huge", std::string((1 << 20) + 1, '#'), "bytes; a configuration has at most"},
                    Hostile{"unclosed", "name: [a\n", "not valid YAML"},
                    Hostile{"unclosed_quote", "name: \"a\n", "not valid YAML"},
                    Hostile{"map_as_key", "{a: b}: c\n", "a key must be a single word"},
                    Hostile{"tag", "name: !!python/object:os.system x\n", "tags have no meaning here"},
                    Hostile{"percent", "%BAD directive\nname: x\n", ""}, Hostile{"colon_soup", ": : : :\n", ""}),
    [](const auto& tested) { return tested.param.name; });

TEST(HostileYaml, AFewAliasesAreFine) {
  const auto config = load<SampleConfig>({.name = "a.yaml", .text = "training: {steps: &n 5, patience: *n}\n"});
  EXPECT_EQ(config.training.patience, 5);
}

TEST(HostileYaml, ControlCharactersDoNotReachTheMessage) {
  try {
    static_cast<void>(load<SampleConfig>({.name = "a.yaml", .text = "\"\\x1b[31m\\n\": 1\ntraining: {steps: 1}\n"}));
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::StartsWith("a.yaml:1: ?[31m?: unknown key"));
  }
}

}  // namespace
}  // namespace dormer::config
