#include "dormer/data/color_profile.hpp"

#include <string>

#include <gmock/gmock.h>

namespace dormer::data {
namespace {

std::string big_endian(std::size_t value) {
  std::string bytes;
  for (const int shift : {24, 16, 8, 0}) {
    bytes.push_back(static_cast<char>(value >> shift));
  }
  return bytes;
}

/// A profile of nothing but two tags.
std::string profile(const std::string& description) {
  const std::size_t begin = 128 + 4 + 2 * 12;
  return std::string(128, '\0') + big_endian(2) + "cprt" + big_endian(begin) + big_endian(4) + "desc" +
         big_endian(begin + 4) + big_endian(description.size()) + "sRGB" + description;
}

bool is_srgb(const std::string& bytes) {
  return is_srgb_profile(std::as_bytes(std::span(bytes)));
}

TEST(SrgbProfile, IsTheOneThatCallsItselfSo) {
  EXPECT_TRUE(is_srgb(profile("desc sRGB IEC61966-2.1")));
  EXPECT_TRUE(is_srgb(profile(std::string("mluc\0s\0R\0G\0B\0 ", 14))));
  EXPECT_FALSE(is_srgb(profile("desc Display P3")));
  EXPECT_FALSE(is_srgb(profile("desc Adobe RGB"))) << "the copyright does not count";
}

TEST(SrgbProfile, IsNotWhatIsDamaged) {
  const std::string whole = profile("desc sRGB IEC61966-2.1");
  for (std::size_t size = 0; size < whole.size() - 14; ++size) {
    EXPECT_FALSE(is_srgb(whole.substr(0, size))) << size;
  }
  std::string endless = whole;
  endless.replace(128, 4, "\xFF\xFF\xFF\xFF");
  EXPECT_TRUE(is_srgb(endless)) << "as many tags as there are";
  std::string outside = whole;
  outside.replace(128 + 4 + 12 + 4, 4, "\xFF\xFF\xFF\xF0");
  EXPECT_FALSE(is_srgb(outside));
}

}  // namespace
}  // namespace dormer::data
