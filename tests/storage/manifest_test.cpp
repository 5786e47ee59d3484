#include "dormer/storage/manifest.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dormer/core/error.hpp"
#include "dormer/storage/checksum.hpp"

namespace dormer::storage {
namespace {

using ::testing::HasSubstr;

std::string refusal_of_manifest(const std::string& text) {
  try {
    (void)parse_manifest(text, "m.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kInput);
    return error.what();
  }
  return "";
}

ManifestSlice slice(std::int64_t offset, std::int64_t count) {
  return {.name = "a",
          .dtype = DType::kF32,
          .shape = {3, 4},
          .offset = offset,
          .count = count,
          .file = "s.h5",
          .xxh3_128 = "0"};
}

Manifest sample() {
  return {.step = 40,
          .files = {{"s.h5", 100, "00ff"}, {"t.h5", 1, "aa"}},
          .arrays = {slice(6, 6), slice(0, 6)},
          .state = R"({"epoch":1,"rate":0.1,"seed":18446744073709551615,"tiny":5e-324,"text":"größer"})"};
}

TEST(Checksum, IsTheCanonicalXxh3) {
  // The published value of XXH3-128 of nothing.
  EXPECT_EQ(xxh3_128({}), "99aa06d3014798d86001c324468d497f");
}

TEST(Manifest, ComesBackAsItWas) {
  const Manifest back = parse_manifest(to_text(sample()), "m.json");
  EXPECT_EQ(back.step, 40);
  ASSERT_EQ(back.files.size(), 2U);
  EXPECT_EQ(back.files[0].name, "s.h5");
  EXPECT_EQ(back.files[0].bytes, 100U);
  EXPECT_EQ(back.files[0].xxh3_128, "00ff");
  ASSERT_EQ(back.arrays.size(), 2U);
  EXPECT_EQ(back.arrays[0].offset, 6);
  EXPECT_EQ(back.arrays[0].shape, (std::vector<std::int64_t>{3, 4}));
  EXPECT_EQ(back.state, R"({"epoch":1,"rate":0.1,"seed":18446744073709551615,"text":"größer","tiny":5e-324})");
  EXPECT_EQ(to_text(back), to_text(sample()));
}

TEST(Manifest, EveryChangedCharacterIsFound) {
  const std::string text = to_text(sample());
  for (std::size_t place = 0; place < text.size(); ++place) {
    std::string changed = text;
    changed[place] = changed[place] == '7' ? '8' : '7';
    // Other digits of the same number (5e-324 and 7e-324) are the same content.
    EXPECT_TRUE(!refusal_of_manifest(changed).empty() || to_text(parse_manifest(changed, "m.json")) == text)
        << "at " << place;
  }
  EXPECT_FALSE(refusal_of_manifest(text.substr(0, text.size() / 2)).empty());
  EXPECT_FALSE(refusal_of_manifest("").empty());
  EXPECT_FALSE(refusal_of_manifest("[]").empty());
}

TEST(Manifest, SlicesMustCoverTheirArrayWithoutOverlap) {
  const auto with = [](std::vector<ManifestSlice> slices) {
    Manifest manifest = sample();
    manifest.arrays = std::move(slices);
    return refusal_of_manifest(to_text(manifest));
  };
  EXPECT_EQ(with({slice(0, 12)}), "");
  EXPECT_EQ(with({slice(0, 5), slice(5, 0), slice(5, 7)}), "");
  EXPECT_THAT(with({slice(0, 11)}), HasSubstr("its slices hold 11"));
  EXPECT_THAT(with({slice(0, 5), slice(6, 6)}), HasSubstr("hole or overlap"));
  EXPECT_THAT(with({slice(0, 7), slice(6, 6)}), HasSubstr("hole or overlap"));
  EXPECT_THAT(with({slice(0, 13)}), HasSubstr("hole or overlap"));
  EXPECT_THAT(with({slice(-1, 13)}), HasSubstr("hole or overlap"));
}

TEST(Manifest, FilesMustBePlainAndListed) {
  Manifest manifest = sample();
  manifest.files[0].name = "../s.h5";
  EXPECT_THAT(refusal_of_manifest(to_text(manifest)), HasSubstr("not the name of a file beside it"));
  manifest = sample();
  manifest.arrays[0].file = "u.h5";
  EXPECT_THAT(refusal_of_manifest(to_text(manifest)), HasSubstr("not listed"));
  manifest = sample();
  manifest.files[1].name = "s.h5";
  EXPECT_THAT(refusal_of_manifest(to_text(manifest)), HasSubstr("twice"));
}

}  // namespace
}  // namespace dormer::storage
