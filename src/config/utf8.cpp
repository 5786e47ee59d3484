#include "config/utf8.hpp"

#include <cstdint>

namespace dormer::config {
namespace {

struct Lead {
  std::size_t length;
  std::uint32_t bits;
  std::uint32_t smallest;  ///< below it the form is overlong
};

std::optional<Lead> classify(unsigned char byte) {
  if (byte < 0x80) {
    return Lead{1, byte, 0};
  }
  if ((byte & 0xE0) == 0xC0) {
    return Lead{2, byte & 0x1Fu, 0x80};
  }
  if ((byte & 0xF0) == 0xE0) {
    return Lead{3, byte & 0x0Fu, 0x800};
  }
  if ((byte & 0xF8) == 0xF0) {
    return Lead{4, byte & 0x07u, 0x10000};
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::size_t> first_invalid_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::optional<Lead> lead = classify(static_cast<unsigned char>(text[at]));
    if (!lead || at + lead->length > text.size()) {
      return at;
    }
    std::uint32_t point = lead->bits;
    for (std::size_t i = 1; i < lead->length; ++i) {
      const auto byte = static_cast<unsigned char>(text[at + i]);
      if ((byte & 0xC0) != 0x80) {
        return at + i;
      }
      point = (point << 6) | (byte & 0x3Fu);
    }
    const bool surrogate = point >= 0xD800 && point <= 0xDFFF;
    if (point < lead->smallest || point > 0x10FFFF || surrogate) {
      return at;
    }
    at += lead->length;
  }
  return std::nullopt;
}

}  // namespace dormer::config
