// make_tiny_run FOLDER: writes a tiny model and token sets for it, for tests that start the program.
#include <cstdio>
#include <filesystem>

#include "support/tiny_model.hpp"

int main(int count, char** arguments) {
  if (count != 2) {
    std::fputs("usage: make_tiny_run FOLDER\n", stderr);
    return 2;
  }
  const std::filesystem::path folder = arguments[1];
  dormer::test::write_tiny_model(folder / "model");
  dormer::test::write_tiny_tokens(folder / "train.h5", 16 * 200 + 1, 1);
  dormer::test::write_tiny_tokens(folder / "validation.h5", 16 * 9 + 1, 2);
  return 0;
}
