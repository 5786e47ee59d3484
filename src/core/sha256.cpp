#include "dormer/core/sha256.hpp"

#include <algorithm>
#include <bit>

#include <fmt/format.h>

namespace dormer {
namespace {

__extension__ using Wide = unsigned __int128;

constexpr bool is_prime(std::uint32_t number) {
  for (std::uint32_t divisor = 2; divisor * divisor <= number; ++divisor) {
    if (number % divisor == 0) {
      return false;
    }
  }
  return number >= 2;
}

// The first 32 bits of the fractional part of a prime's square (power 2) or cube root (power 3): the largest integer
// whose power does not exceed prime * 2^(32 * power), modulo 2^32.
constexpr std::uint32_t root_fraction(std::uint32_t prime, int power) {
  const Wide target = static_cast<Wide>(prime) << (32 * power);
  Wide root = 0;
  for (int bit = 37; bit >= 0; --bit) {
    const Wide candidate = root | (Wide{1} << bit);
    if ((power == 2 ? candidate * candidate : candidate * candidate * candidate) <= target) {
      root = candidate;
    }
  }
  return static_cast<std::uint32_t>(root);
}

template <std::size_t Count>
constexpr std::array<std::uint32_t, Count> root_fractions(int power) {
  std::array<std::uint32_t, Count> result{};
  std::uint32_t number = 2;
  for (std::uint32_t& value : result) {
    while (!is_prime(number)) {
      ++number;
    }
    value = root_fraction(number++, power);
  }
  return result;
}

constexpr auto kInitial = root_fractions<8>(2);
constexpr auto kRoundConstants = root_fractions<64>(3);
static_assert(kInitial[0] == 0x6A09E667U && kRoundConstants[63] == 0xC67178F2U);

}  // namespace

Sha256::Sha256() : state_(kInitial) {}

void Sha256::compress(const unsigned char* block) {
  std::array<std::uint32_t, 64> words{};
  for (std::size_t i = 0; i < 16; ++i) {
    words[i] = (std::uint32_t{block[4 * i]} << 24) | (std::uint32_t{block[4 * i + 1]} << 16) |
               (std::uint32_t{block[4 * i + 2]} << 8) | std::uint32_t{block[4 * i + 3]};
  }
  for (std::size_t i = 16; i < 64; ++i) {
    const std::uint32_t x = words[i - 15];
    const std::uint32_t y = words[i - 2];
    words[i] = words[i - 16] + (std::rotr(x, 7) ^ std::rotr(x, 18) ^ (x >> 3)) + words[i - 7] +
               (std::rotr(y, 17) ^ std::rotr(y, 19) ^ (y >> 10));
  }
  auto [a, b, c, d, e, f, g, h] = state_;
  for (std::size_t i = 0; i < 64; ++i) {
    const std::uint32_t choice = (e & f) ^ (~e & g);
    const std::uint32_t majority = (a & b) ^ (a & c) ^ (b & c);
    const std::uint32_t first =
        h + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) + choice + kRoundConstants[i] + words[i];
    const std::uint32_t second = (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) + majority;
    h = g;
    g = f;
    f = e;
    e = d + first;
    d = c;
    c = b;
    b = a;
    a = first + second;
  }
  const std::array<std::uint32_t, 8> worked{a, b, c, d, e, f, g, h};
  for (std::size_t i = 0; i < state_.size(); ++i) {
    state_[i] += worked[i];
  }
}

void Sha256::update(std::string_view bytes) {
  total_ += bytes.size();
  while (!bytes.empty()) {
    const std::size_t taken = std::min(bytes.size(), pending_.size() - pending_count_);
    std::copy_n(bytes.begin(), taken, pending_.begin() + static_cast<std::ptrdiff_t>(pending_count_));
    pending_count_ += taken;
    bytes.remove_prefix(taken);
    if (pending_count_ == pending_.size()) {
      compress(pending_.data());
      pending_count_ = 0;
    }
  }
}

std::string Sha256::finish() {
  const std::uint64_t bits = total_ * 8;
  std::string padding(1, '\x80');
  padding.append((pending_count_ < 56 ? 55 : 119) - pending_count_, '\0');
  for (int shift = 56; shift >= 0; shift -= 8) {
    padding.push_back(static_cast<char>((bits >> shift) & 0xFF));
  }
  update(padding);
  std::string text;
  for (const std::uint32_t word : state_) {
    text += fmt::format("{:08x}", word);
  }
  return text;
}

std::string sha256_hex(std::string_view bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.finish();
}

}  // namespace dormer
