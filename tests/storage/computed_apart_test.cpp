#include "storage/computed_apart.hpp"

#include <cstdlib>
#include <stdexcept>

#include <gmock/gmock.h>
#include <unistd.h>

namespace dormer::storage {
namespace {

constexpr unsigned kPlenty = 60'000;

TEST(ComputedApart, GivesBackWhatTheChildMade) {
  EXPECT_EQ(computed_apart([] { return std::string("a\0b", 3); }, kPlenty), std::string("a\0b", 3));
  EXPECT_EQ(computed_apart([] { return std::string(); }, kPlenty), "");
  const std::string large(3'000'000, 'x');
  EXPECT_EQ(computed_apart([&] { return large; }, kPlenty), large);
}

TEST(ComputedApart, LeavesThisProcessAsItIs) {
  int value = 1;
  EXPECT_EQ(computed_apart([&] { return std::to_string(++value); }, kPlenty), "2");
  EXPECT_EQ(value, 1);
}

TEST(ComputedApart, GivesNothingWhereTheChildDiesOrThrows) {
  EXPECT_EQ(computed_apart([]() -> std::string { std::abort(); }, kPlenty), std::nullopt);
  EXPECT_EQ(computed_apart([]() -> std::string { throw std::runtime_error("no"); }, kPlenty), std::nullopt);
  EXPECT_EQ(computed_apart([]() -> std::string { ::_exit(7); }, kPlenty), std::nullopt);
}

TEST(ComputedApart, EndsAChildThatGoesRoundInCircles) {
  volatile bool circles = true;
  const auto endless = [&] {
    while (circles) {
    }
    return std::string();
  };
  EXPECT_EQ(computed_apart(endless, 50), std::nullopt);
}

}  // namespace
}  // namespace dormer::storage
