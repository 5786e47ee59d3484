#include "migration/foreign_file.hpp"

#include <string>

#include <gmock/gmock.h>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "support/temp_directory.hpp"

namespace dormer::migration {
namespace {

Json read(const std::string& text) {
  const test::TempDirectory folder;
  write_file_atomically(folder.path() / "a.toml", text);
  return read_foreign_file(folder.path() / "a.toml");
}

std::string repeated(int times, const std::string& text) {
  std::string result;
  for (int i = 0; i < times; ++i) {
    result += text;
  }
  return result;
}

/// What reads TOML calls itself for every name of a key and for every table in a table.
TEST(Toml, OfTooManyNamesIsRefused) {
  const std::string names = "a" + repeated(50'000, ".a . 'b' . \"c\"");
  const std::string tables = repeated(1'000, "a.a.a.a.a.a.a.a = {") + "b = 1" + repeated(1'000, "}");
  const std::string both = repeated(30, "a" + repeated(30, ".a") + " = {") + "b = 1" + repeated(30, "}");
  for (const std::string& text : {names + " = 1", "[" + names + "]", "[[" + names + "]]", "x = {" + names + " = 1}",
                                  tables, both, "x = " + repeated(1'000, "[") + repeated(1'000, "]")}) {
    try {
      static_cast<void>(read(text + "\n"));
      ADD_FAILURE() << text.substr(0, 20);
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kInput);
      EXPECT_THAT(error.what(), ::testing::HasSubstr("a.toml")) << text.substr(0, 20);
    }
  }
}

TEST(Toml, MayHaveAnyNumberOfOtherDots) {
  const std::string dots(200, '.');
  const Json json = read("a.\"b." + dots + "\".c = \"\\\"" + dots + "\"  # " + dots + " '\nd = '\\" + dots +
                         "'\ne = \"\"\"" + dots + "\n\"" + dots + "\\\"\"\"\"\nf = '''" + dots + "\n'" + dots +
                         "'''\ng = [0.5" + repeated(200, ", 0.5") + "]\n");
  EXPECT_EQ(json["a"]["b." + dots]["c"], "\"" + dots);
  EXPECT_EQ(json["d"], "\\" + dots);
  EXPECT_EQ(json["e"], dots + "\n\"" + dots + "\"");
  EXPECT_EQ(json["f"], dots + "\n'" + dots);
  EXPECT_EQ(json["g"].size(), 201U);
}

}  // namespace
}  // namespace dormer::migration
