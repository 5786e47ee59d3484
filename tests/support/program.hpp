#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <fmt/format.h>
#include <sys/wait.h>

#include "support/temp_directory.hpp"

namespace dormer::test {

/// What a run of the program left.
struct ProgramResult {
  int exit_code = 0;  ///< 128 + signal for a program that was killed
  std::string output;
  std::string errors;
};

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// Runs `program` with `arguments`, which the shell reads, in the folder `directory`.
inline ProgramResult run_program(const std::string& program, const std::string& arguments,
                                 const std::filesystem::path& directory = ".") {
  const TempDirectory files;
  const std::string line = fmt::format("cd '{}' && '{}' {} >'{}' 2>'{}' </dev/null", directory.string(), program,
                                       arguments, (files.path() / "out").string(), (files.path() / "err").string());
  const int status = std::system(line.c_str());
  return {.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
          .output = read_text(files.path() / "out"),
          .errors = read_text(files.path() / "err")};
}

}  // namespace dormer::test
