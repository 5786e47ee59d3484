#include "dormer/data/prompt_lines.hpp"

#include <fstream>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"
#include "support/temp_directory.hpp"

namespace dormer::data {
namespace {

using testing::HasSubstr;

TEST(PromptLines, EveryOptionIsRead) {
  const auto prompts =
      parse_prompt_lines("a photo, of a cat --n blurry, bad --w 512 --h 768 --d 3 --l 7.5 --s 20", "prompts.txt");
  ASSERT_EQ(prompts.size(), 1U);
  const PromptLine& prompt = prompts[0];
  EXPECT_EQ(prompt.prompt, "a photo, of a cat");
  EXPECT_EQ(prompt.negative, "blurry, bad");
  EXPECT_EQ(prompt.width, 512);
  EXPECT_EQ(prompt.height, 768);
  EXPECT_EQ(prompt.seed, 3);
  EXPECT_EQ(prompt.guidance, 7.5);
  EXPECT_EQ(prompt.steps, 20);
  EXPECT_EQ(prompt.line, 1);
}

TEST(PromptLines, WhatIsNotSaidStaysOpen) {
  const auto prompts = parse_prompt_lines("just-a cat dog--w 5", "p");
  ASSERT_EQ(prompts.size(), 1U);
  EXPECT_EQ(prompts[0].prompt, "just-a cat dog--w 5");  // an option stands after a blank
  EXPECT_EQ(prompts[0].negative, "");
  EXPECT_FALSE(prompts[0].width || prompts[0].height || prompts[0].seed || prompts[0].guidance || prompts[0].steps);
}

TEST(PromptLines, CommentsEmptyLinesAndLineEndsOfWindowsArePassedOver) {
  const auto prompts =
      parse_prompt_lines("\xEF\xBB\xBF# previews\r\n\r\n  a cat  --W 64\t\r\n \t\n#a dog\nb --N  x  \n", "p");
  ASSERT_EQ(prompts.size(), 2U);
  EXPECT_EQ(prompts[0].prompt, "a cat");
  EXPECT_EQ(prompts[0].width, 64);
  EXPECT_EQ(prompts[0].line, 3);
  EXPECT_EQ(prompts[1].prompt, "b");
  EXPECT_EQ(prompts[1].negative, "x");
  EXPECT_EQ(prompts[1].line, 6);
  EXPECT_TRUE(parse_prompt_lines("", "p").empty());
}

TEST(PromptLines, MistakesAreNamedWithTheirLine) {
  for (const auto& [line, reason] :
       std::vector<std::pair<std::string, std::string>>{{"a --w", "--w takes a number from 64 to 8192, not ''"},
                                                        {"a --w 512px", "not '512px'"},
                                                        {"a --w 500", "--w 500 is no multiple of 8; write 496"},
                                                        {"a --h 8", "from 64"},
                                                        {"a --h 99999999999999999999", "from 64"},
                                                        {"a --d -1", "--d takes a number from 0"},
                                                        {"a --l 7,5", "not '7,5'"},
                                                        {"a --l nan", "not 'nan'"},
                                                        {"a --s 0", "from 1 to 1000"},
                                                        {"a --s 2.5", "not '2.5'"},
                                                        {"a --s 20 --S 30", "--S is there twice"},
                                                        {"a --n x --n y", "--n is there twice"},
                                                        {"a --ss euler_a", "unknown option --ss; known are --n"},
                                                        {"a -- b", "unknown option --;"},
                                                        {"a --", "unknown option --;"},
                                                        {"--w 512", "write the prompt first"}}) {
    try {
      static_cast<void>(parse_prompt_lines("good\n\n" + line + "\n", "previews.txt"));
      ADD_FAILURE() << line;
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kInput);
      EXPECT_THAT(error.what(), testing::StartsWith("previews.txt:3: ")) << line;
      EXPECT_THAT(error.what(), HasSubstr(reason)) << line;
    }
  }
}

TEST(PromptLines, AFileOfAnotherSortIsNotTakenForPrompts) {
  std::string text;
  for (int line = 0; line < 10'000; ++line) {
    text += "b\n";
  }
  EXPECT_EQ(parse_prompt_lines(text, "p").size(), 10'000U);
  EXPECT_THROW(static_cast<void>(parse_prompt_lines(text + "b", "p")), Error);
}

TEST(PromptLines, AreReadFromAFileWhoseNameIsInErrors) {
  const test::TempDirectory folder;
  std::ofstream(folder.path() / "p.txt") << "a\nb --w 9";
  try {
    static_cast<void>(read_prompt_lines(folder.path() / "p.txt"));
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr((folder.path() / "p.txt:2").string()));
  }
  std::ofstream(folder.path() / "p.txt") << "a\nb";
  EXPECT_EQ(read_prompt_lines(folder.path() / "p.txt").size(), 2U);
}

}  // namespace
}  // namespace dormer::data
