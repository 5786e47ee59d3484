#include "data/clip_text.hpp"

#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include <utf8proc.h>

#include "dormer/core/error.hpp"

namespace dormer::data {
namespace {

struct Point {
  std::int32_t value = -1;  ///< negative: no UTF-8
  std::size_t bytes = 1;
};

Point point_at(std::string_view text, std::size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  if (lead < 0x80) {
    return {lead, 1};
  }
  utf8proc_int32_t value = -1;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at;
  const utf8proc_ssize_t length = utf8proc_iterate(bytes, static_cast<utf8proc_ssize_t>(text.size() - at), &value);
  return length > 0 ? Point{value, static_cast<std::size_t>(length)} : Point{};
}

bool is_white(std::int32_t point) {
  return (point >= 0x09 && point <= 0x0D) || point == 0x20 || point == 0x85 || point == 0xA0 || point == 0x1680 ||
         (point >= 0x2000 && point <= 0x200A) || point == 0x2028 || point == 0x2029 || point == 0x202F ||
         point == 0x205F || point == 0x3000;
}

enum class Class { kWhite, kLetter, kDigit, kSign };

Class class_of(std::int32_t point) {
  if (is_white(point)) {
    return Class::kWhite;
  }
  switch (utf8proc_category(point)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return Class::kLetter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return Class::kDigit;
    default:
      return Class::kSign;
  }
}

void append(std::string& text, std::int32_t point) {
  std::array<utf8proc_uint8_t, 4> bytes{};
  const utf8proc_ssize_t length = utf8proc_encode_char(point, bytes.data());
  text.append(reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(length));
}

void append_small(std::string& text, std::int32_t point) {
  constexpr std::int32_t kDottedCapital = 0x130;  // the one letter whose small form is two code points
  if (point == kDottedCapital) {
    text += "i\xCC\x87";
  } else {
    append(text, utf8proc_tolower(point));
  }
}

/// Nothing below U+0300 combines with what stands before it, and none of it decomposes for good.
bool may_compose(std::string_view text) {
  for (const char letter : text) {
    if (static_cast<unsigned char>(letter) >= 0xCC) {
      return true;
    }
  }
  return false;
}

std::string composed(std::string_view text) {
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &result, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(result, &std::free);
  require(length >= 0, Fault::kInput, "the text cannot be composed ({}); shorten it", utf8proc_errmsg(length));
  return {reinterpret_cast<const char*>(result), static_cast<std::size_t>(length)};
}

/// Bytes of what begins at `at` with an apostrophe, or 0.
std::size_t contraction_at(std::string_view text, std::size_t at) {
  for (const std::string_view end : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
    if (text.substr(at).starts_with(end)) {
      return end.size();
    }
  }
  return 0;
}

std::size_t end_of_run(std::string_view text, std::size_t at, Class wanted) {
  while (at < text.size()) {
    const Point point = point_at(text, at);
    if (class_of(point.value) != wanted) {
      break;
    }
    at += point.bytes;
  }
  return at;
}

/// Cuts "<|" name "|>" into its three words; returns whether it stands at `at`.
bool take_written_token(std::string_view text, std::size_t at, std::vector<std::string_view>& words) {
  for (const std::string_view token : {"<|startoftext|>", "<|endoftext|>"}) {
    if (text.substr(at).starts_with(token)) {
      words.push_back(text.substr(at, 2));
      words.push_back(text.substr(at + 2, token.size() - 4));
      words.push_back(text.substr(at + token.size() - 2, 2));
      return true;
    }
  }
  return false;
}

}  // namespace

void require_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const Point point = point_at(text, at);
    require(point.value >= 0, Fault::kInput, "a caption is not UTF-8 from its byte {} on; save its file as UTF-8", at);
    at += point.bytes;
  }
}

std::string normalize_caption(std::string_view text) {
  std::string held;
  if (may_compose(text)) {
    held = composed(text);
    text = held;
  }
  std::string result;
  result.reserve(text.size());
  bool after_white = false;
  for (std::size_t at = 0; at < text.size();) {
    const Point point = point_at(text, at);
    const bool white = is_white(point.value);
    if (white && !after_white) {
      result += ' ';
    } else if (!white) {
      append_small(result, point.value);
    }
    after_white = white;
    at += point.bytes;
  }
  return result;
}

std::vector<std::string_view> split_words(std::string_view text) {
  std::vector<std::string_view> words;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == '<' && take_written_token(text, at, words)) {
      at = static_cast<std::size_t>(words.back().data() + words.back().size() - text.data());
      continue;
    }
    const Point point = point_at(text, at);
    const Class kind = class_of(point.value);
    std::size_t end = at + point.bytes;
    if (const std::size_t length = text[at] == '\'' ? contraction_at(text, at) : 0; length > 0) {
      end = at + length;
    } else if (kind == Class::kLetter || kind == Class::kSign) {
      end = end_of_run(text, end, kind);
    }
    if (kind != Class::kWhite) {
      words.push_back(text.substr(at, end - at));
    }
    at = end;
  }
  return words;
}

}  // namespace dormer::data
