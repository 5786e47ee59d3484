// make_tiny_run FOLDER [TOKENS]: writes a tiny model and token sets for it, for tests that start the program. The set
// for training has TOKENS tokens (3,201), the one for validation a sixteenth, at least 145.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "support/tiny_model.hpp"

int main(int count, char** arguments) {
  const std::int64_t tokens = count == 3 ? std::atoll(arguments[2]) : 16 * 200 + 1;
  if (count < 2 || count > 3 || tokens < 2) {
    std::fputs("usage: make_tiny_run FOLDER [TOKENS]\n", stderr);
    return 2;
  }
  const std::filesystem::path folder = arguments[1];
  dormer::test::write_tiny_model(folder / "model");
  dormer::test::write_tiny_tokens(folder / "train.h5", tokens, 1);
  dormer::test::write_tiny_tokens(folder / "validation.h5", std::max<std::int64_t>(tokens / 16, 16 * 9 + 1), 2);
  return 0;
}
