#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/storage/hdf5.hpp"
#include "dormer/storage/manifest.hpp"
#include "dormer/storage/safetensors.hpp"

namespace dormer::storage {

/// Where a save stands, in this order.
enum class CommitPoint : std::uint8_t {
  kBegun,            ///< leftovers of earlier lives are removed
  kFolderMade,       ///< the temporary folder exists
  kShardWritten,     ///< arrays are on disk
  kManifestWritten,  ///< so is the manifest
  kSynced,           ///< names in the temporary folder survive a loss of power
  kCommitted,        ///< the rename happened: from here on the checkpoint exists
  kHinted,           ///< LATEST names it
};

/// Told after every point; tests end the process there.
using CommitObserver = std::function<void(CommitPoint)>;

/// A checkpoint as it will lie on disk, in memory: it needs nothing of what it was made from.
struct CheckpointImage {
  std::int64_t step = 0;
  Hdf5Image shard;
  std::string manifest;
};

/// Builds the files of a checkpoint, with their sums. `state` is a JSON object.
[[nodiscard]] CheckpointImage build_checkpoint(std::int64_t step, std::span<const NamedArray> arrays,
                                               const std::string& state);

/// Writes an image into a temporary folder of `parent` and flushes it; leftovers of killed saves are removed first. No
/// checkpoint exists or changes by that. Throws an I/O error, with the temporary folder removed, if the system refuses
/// something. One thread of one process may stage or commit in `parent` at a time.
void stage_checkpoint(const std::filesystem::path& parent, const CheckpointImage& image,
                      const CommitObserver& observer = {});

/// Makes the staged checkpoint of `step` the one of its name: a rename, or an exchange with one that is there, flushed;
/// then the hint LATEST. Returns its folder. An I/O error leaves what was there.
std::filesystem::path commit_checkpoint(const std::filesystem::path& parent, std::int64_t step,
                                        const CommitObserver& observer = {});

/// All three: saves `parent`/step-000000040 so that at every moment the folder is either whole or not there: a
/// temporary folder beside it, the shard, the manifest last, fsync, rename, fsync of the parent.
std::filesystem::path write_checkpoint(const std::filesystem::path& parent, std::int64_t step,
                                       std::span<const NamedArray> arrays, const std::string& state,
                                       const CommitObserver& observer = {});

/// Bytes of the files that `write_checkpoint` would write for arrays of these names, dtypes and shapes; their bytes are
/// not looked at. HDF5 makes the shard's frame; what it pads arrays with is an estimate of a page each.
struct CheckpointSize {
  std::int64_t shard = 0;
  std::int64_t manifest = 0;
  [[nodiscard]] std::int64_t total() const { return shard + manifest; }
};
[[nodiscard]] CheckpointSize checkpoint_size(std::span<const NamedArray> arrays, const std::string& state);

struct CheckpointPlace {
  std::int64_t step = 0;
  std::filesystem::path folder;
};

/// Folders that are named as checkpoints, newest first. Says nothing about their content. Empty if `parent` does not
/// exist.
[[nodiscard]] std::vector<CheckpointPlace> list_checkpoints(const std::filesystem::path& parent);

/// An array with its own memory.
struct StoredArray {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;
};

struct Checkpoint {
  std::int64_t step = 0;
  std::string state;                ///< a JSON object
  std::vector<StoredArray> arrays;  ///< sorted by name
  /// Null if there is none of that name.
  [[nodiscard]] const StoredArray* find(std::string_view name) const;
};

/// The manifest alone: cheap, and enough to tell what a checkpoint claims to hold.
[[nodiscard]] Manifest read_manifest(const std::filesystem::path& folder);

/// Reads a checkpoint and verifies all of it: the manifest's own sum, the sizes and sums of files (before HDF5 sees
/// them) and of arrays, and that slices cover every array. Anything wrong is an input error; the caller then may
/// `quarantine` it.
[[nodiscard]] Checkpoint load_checkpoint(const std::filesystem::path& folder);

/// Removes what killed saves and removals left in `parent`. One process may write there, so nobody is at work on them.
/// An I/O error if the system refuses; nothing where `parent` does not exist.
void remove_leftovers(const std::filesystem::path& parent);

/// Renames a bad checkpoint to step-000000040.corrupt (numbered if that is taken) and returns the new path.
std::filesystem::path quarantine(const std::filesystem::path& folder);

/// Removes all checkpoints but the newest `keep_last` and the steps in `protect`. Each is renamed away first, so that a
/// killed removal never leaves a part that looks like a checkpoint.
void retire(const std::filesystem::path& parent, std::int64_t keep_last, std::span<const std::int64_t> protect);

}  // namespace dormer::storage
