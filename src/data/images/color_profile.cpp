#include "dormer/data/color_profile.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

namespace dormer::data {
namespace {

constexpr std::size_t kHeader = 128;   // bytes before the table of tags
constexpr std::size_t kTagEntry = 12;  // signature, offset, size

std::uint32_t big_endian(std::span<const std::byte> bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    value = value << 8 | std::to_integer<std::uint32_t>(bytes[at + i]);
  }
  return value;
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The bytes of the tag, or nothing where the table is no table.
std::span<const std::byte> find_tag(std::span<const std::byte> profile, std::string_view signature) {
  if (profile.size() < kHeader + 4) {
    return {};
  }
  const std::size_t count =
      std::min<std::size_t>(big_endian(profile, kHeader), (profile.size() - kHeader - 4) / kTagEntry);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t entry = kHeader + 4 + i * kTagEntry;
    const std::size_t offset = big_endian(profile, entry + 4);
    const std::size_t size = big_endian(profile, entry + 8);
    if (text_of(profile.subspan(entry, 4)) == signature && offset <= profile.size() &&
        size <= profile.size() - offset) {
      return profile.subspan(offset, size);
    }
  }
  return {};
}

}  // namespace

bool is_srgb_profile(std::span<const std::byte> profile) {
  // Version 2 writes ASCII, version 4 UTF-16 with the upper byte first.
  constexpr std::string_view kWide("s\0R\0G\0B", 7);
  const std::string_view description = text_of(find_tag(profile, "desc"));
  return description.find("sRGB") != std::string_view::npos || description.find(kWide) != std::string_view::npos;
}

}  // namespace dormer::data
