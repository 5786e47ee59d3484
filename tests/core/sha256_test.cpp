#include "dormer/core/sha256.hpp"

#include <gtest/gtest.h>

namespace dormer {
namespace {

// FIPS 180-4's examples, and the lengths around the end of a block (sums from coreutils).
TEST(Sha256, KnownDigests) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_hex(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesGiveTheDigestOfTheWhole) {
  for (std::size_t length = 50; length < 140; ++length) {
    const std::string text(length, 'x');
    for (const std::size_t cut : {std::size_t{1}, length / 2, length}) {
      Sha256 hash;
      hash.update(std::string_view(text).substr(0, cut));
      hash.update(std::string_view(text).substr(cut));
      EXPECT_EQ(hash.finish(), sha256_hex(text)) << length << " cut at " << cut;
    }
  }
}

}  // namespace
}  // namespace dormer
