#include "dormer/cli/program.hpp"

int main(int argc, char** argv) {
  return dormer::cli::run(argc, argv);
}
