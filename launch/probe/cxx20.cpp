// Uses what the sources use of C++20, to find compilers that only claim it.
#include <bit>
#include <concepts>
#include <ranges>
#include <source_location>
#include <span>
#include <stop_token>

template <std::integral T>
constexpr int width(std::span<const T> values) {
  return std::bit_width(static_cast<unsigned>(values.size()));
}

struct Options {
  int rank = 0;
  bool exact = false;
};

static int probe(std::source_location where = std::source_location::current()) {
  constexpr int values[] = {1, 2, 3};
  const Options options{.rank = 1, .exact = true};
  return width<int>(values) + options.rank + static_cast<int>(where.line());
}

int main() {
  return probe() > 0 ? 0 : 1;
}
