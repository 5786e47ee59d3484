#include "sweep/evaluation.hpp"

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"

namespace dormer::sweep {
namespace {

using ::testing::HasSubstr;

void expect_refused(const std::string& command, const std::string& text) {
  try {
    static_cast<void>(evaluate(command, "a"));
    FAIL() << command;
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kUsage);
    EXPECT_THAT(error.what(), HasSubstr(text));
    EXPECT_THAT(error.what(), HasSubstr(command));
  }
}

TEST(Evaluation, TheLastLineIsTheValue) {
  EXPECT_EQ(evaluate("echo warming up; echo 1.25", "a"), 1.25);
  EXPECT_EQ(evaluate(R"(echo '{"value": -3e-2, "samples": 7}'; echo)", "a"), -0.03);
}

TEST(Evaluation, TheAdapterStandsInTheCommandAndInTheEnvironment) {
  const std::filesystem::path odd = "/somewhere/it's here; rm x";
  EXPECT_EQ(evaluate("test {adapter} = \"$DORMER_ADAPTER\" && printf %s {adapter} | wc -c", odd), 26.0);
}

TEST(Evaluation, WhatFailsOrSaysNoNumberIsTold) {
  expect_refused("echo 1; exit 3", "ended with exit code 3");
  expect_refused("kill -9 $$", "ended with signal 9");
  expect_refused("echo fine", "said 'fine' last");
  expect_refused("true", "said '' last");
  expect_refused("echo '{\"loss\": 2}'", "a JSON object with the number");
}

}  // namespace
}  // namespace dormer::sweep
