#pragma once

namespace dormer::cli {

/// The program: reads the command line, runs one command, and returns the exit code (docs/architecture.md lists them).
/// Errors are lines on stderr; no exception leaves.
[[nodiscard]] int run(int argc, const char* const* argv);

}  // namespace dormer::cli
