#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "dormer/comm/communicator.hpp"
#include "dormer/comm/world.hpp"

namespace dormer::train {

/// Where this machine keeps a copy of the frozen model: the folder that `model.stage` names; for auto, and a model on a
/// network file system, the scratch of a Slurm job (SLURM_TMPDIR, else TMPDIR) where it has any. Nothing: none is made.
/// Pure.
[[nodiscard]] std::optional<std::filesystem::path> staging_folder(const std::string& wish, bool on_network,
                                                                  const comm::Environment& environment);

/// Whether a folder is on a disk with so much free space; memory that looks like one is none.
[[nodiscard]] bool is_roomy(const std::filesystem::path& place, std::uintmax_t bytes);

/// Copies configuration and weights of a model into `place`/dormer-FINGERPRINT, unless it is there already, and returns
/// that folder. Each piece is compared with what was read once all are written; the folder appears by one rename.
/// `progress` is called after every piece. I/O errors where there is no room or the system refuses something, input
/// errors where the copy is not the original.
[[nodiscard]] std::filesystem::path copy_model(const std::filesystem::path& model, const std::filesystem::path& place,
                                               const std::function<void()>& progress);

/// The folder to load the weights from: `model` itself, or the copy on this machine, which its first rank makes while
/// the others wait. All ranks call; errors are those of all.
[[nodiscard]] std::filesystem::path stage_model(comm::Communicator& communicator, const std::filesystem::path& model,
                                                const std::string& wish, const std::function<void()>& progress);

}  // namespace dormer::train
