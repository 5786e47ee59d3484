#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/command.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/storage/checkpoint.hpp"

namespace dormer::cli::commands {
namespace {

/// A checkpoint folder is itself; a run directory, or its folder of checkpoints, stands for all of them.
std::vector<std::filesystem::path> checkpoints_in(const std::filesystem::path& path) {
  require(std::filesystem::is_directory(path), Fault::kUsage,
          "{}: no such folder; name a checkpoint or a run directory", path.string());
  if (std::filesystem::exists(path / storage::Manifest::kFileName)) {
    return {path};
  }
  std::vector<std::filesystem::path> folders;
  for (const std::filesystem::path& parent : {path, path / "checkpoints"}) {
    for (const storage::CheckpointPlace& place : storage::list_checkpoints(parent)) {
      folders.push_back(place.folder);
    }
  }
  require(!folders.empty(), Fault::kInput, "{}: neither a checkpoint nor a folder that holds one", path.string());
  return folders;
}

int verify_all(const std::filesystem::path& path) {
  int exit_code = 0;
  for (const std::filesystem::path& folder : checkpoints_in(path)) {
    try {
      const storage::Checkpoint checkpoint = storage::load_checkpoint(folder);
      std::size_t bytes = 0;
      for (const storage::StoredArray& array : checkpoint.arrays) {
        bytes += array.bytes.size();
      }
      fmt::print("{}: good: update {}, {} arrays, {} bytes\n", folder.string(), checkpoint.step,
                 checkpoint.arrays.size(), bytes);
    } catch (const Error& error) {  // the other checkpoints are worth a look all the same
      log::error("{}", error.what());
      exit_code = error.exit_code();
    }
  }
  return exit_code;
}

Action declare(CLI::App& app) {
  const auto path = std::make_shared<std::string>();
  app.add_option("CHECKPOINT", *path, "A checkpoint, or a run directory for all of its checkpoints.")->required();
  return [path] { return verify_all(*path); };
}

}  // namespace

Command verify() {
  return {"verify", "Reads checkpoints whole and compares every sum.",
          "dormer verify runs/quickstart/checkpoints/step-000000040", declare};
}

}  // namespace dormer::cli::commands
