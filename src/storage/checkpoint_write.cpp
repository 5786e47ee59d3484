#include <algorithm>
#include <string>
#include <system_error>
#include <utility>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/storage/checkpoint.hpp"
#include "dormer/storage/checksum.hpp"
#include "dormer/storage/hdf5.hpp"

namespace dormer::storage {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kShard = "shard-00000-of-00001.h5";

std::string folder_name(std::int64_t step) {
  return fmt::format("step-{:09d}", step);
}

fs::path temporary_folder(const fs::path& parent, std::int64_t step) {
  return parent / (".tmp-" + folder_name(step));
}

void tell(const CommitObserver& observer, CommitPoint point) {
  if (observer) {
    observer(point);
  }
}

void make_folder(const fs::path& folder) {
  std::error_code code;
  fs::create_directories(folder, code);
  require(!code, Fault::kIo, "cannot make the folder {}: {}", folder.string(), code.message());
}

void remove_folder(const fs::path& folder) {
  std::error_code code;
  fs::remove_all(folder, code);
  require(!code, Fault::kIo, "cannot remove {}: {}", folder.string(), code.message());
}

Hdf5Image build_shard(std::int64_t step, std::span<const NamedArray> arrays, Manifest& manifest) {
  Hdf5Writer writer;
  writer.set_attribute("format", std::string(Manifest::kFormat));
  writer.set_attribute("step", step);
  for (const NamedArray& array : arrays) {
    // The sum is taken before HDF5 sees the bytes, so that it answers for HDF5 and for us, too.
    const auto count = static_cast<std::int64_t>(array.bytes.size() / size_of(array.dtype));
    manifest.arrays.push_back({.name = array.name,
                               .dtype = array.dtype,
                               .shape = array.shape,
                               .offset = 0,
                               .count = count,
                               .file = std::string(kShard),
                               .xxh3_128 = xxh3_128(array.bytes)});
    writer.add_array(array,
                     {{"offset", std::int64_t{0}}, {"global_shape", fmt::format("{}", fmt::join(array.shape, ","))}});
  }
  Hdf5Image image = writer.finish();
  manifest.files.push_back(
      {.name = std::string(kShard), .bytes = image.bytes().size(), .xxh3_128 = xxh3_128(image.bytes())});
  return image;
}

}  // namespace

void remove_leftovers(const fs::path& parent) {
  std::vector<fs::path> leftovers;
  std::error_code none;  // it need not exist yet
  for (const auto& entry : fs::directory_iterator(parent, none)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(".tmp-step-") || name.starts_with(".del-step-")) {
      leftovers.push_back(entry.path());
    }
  }
  for (const fs::path& leftover : leftovers) {
    remove_folder(leftover);
  }
}

CheckpointSize checkpoint_size(std::span<const NamedArray> arrays, const std::string& state) {
  const std::string sum(32, '0');
  Hdf5Writer writer;
  writer.set_attribute("format", std::string(Manifest::kFormat));
  writer.set_attribute("step", std::int64_t{0});
  Manifest manifest{.step = 0, .files = {}, .arrays = {}, .state = state};
  CheckpointSize size;
  for (const NamedArray& array : arrays) {
    std::int64_t count = 1;
    for (const std::int64_t dimension : array.shape) {
      count *= dimension;
    }
    const std::int64_t bytes = count * static_cast<std::int64_t>(size_of(array.dtype));
    size.shard += bytes + (bytes >= Hdf5Writer::kAlignedFrom ? Hdf5Writer::kPage / 2 : 0);
    writer.add_array({array.name, array.dtype, std::vector<std::int64_t>(array.shape.size(), 0), {}},
                     {{"offset", std::int64_t{0}}, {"global_shape", fmt::format("{}", fmt::join(array.shape, ","))}});
    manifest.arrays.push_back({.name = array.name,
                               .dtype = array.dtype,
                               .shape = array.shape,
                               .offset = 0,
                               .count = count,
                               .file = std::string(kShard),
                               .xxh3_128 = sum});
  }
  size.shard += static_cast<std::int64_t>(writer.finish().bytes().size());
  manifest.files.push_back(
      {.name = std::string(kShard), .bytes = static_cast<std::uint64_t>(size.shard), .xxh3_128 = sum});
  size.manifest = static_cast<std::int64_t>(to_text(manifest).size());
  return size;
}

CheckpointImage build_checkpoint(std::int64_t step, std::span<const NamedArray> arrays, const std::string& state) {
  Manifest manifest{.step = step, .files = {}, .arrays = {}, .state = state};
  Hdf5Image shard = build_shard(step, arrays, manifest);
  return {.step = step, .shard = std::move(shard), .manifest = to_text(manifest)};
}

void stage_checkpoint(const fs::path& parent, const CheckpointImage& image, const CommitObserver& observer) {
  make_folder(parent);
  remove_leftovers(parent);
  tell(observer, CommitPoint::kBegun);
  const fs::path temporary = temporary_folder(parent, image.step);
  try {
    make_folder(temporary);
    tell(observer, CommitPoint::kFolderMade);
    write_new_file(temporary / kShard, image.shard.bytes());
    tell(observer, CommitPoint::kShardWritten);
    write_new_file(temporary / Manifest::kFileName, std::as_bytes(std::span(image.manifest)));
    tell(observer, CommitPoint::kManifestWritten);
    sync_folder(temporary);
    tell(observer, CommitPoint::kSynced);
  } catch (...) {
    std::error_code code;
    fs::remove_all(temporary, code);
    throw;
  }
}

fs::path commit_checkpoint(const fs::path& parent, std::int64_t step, const CommitObserver& observer) {
  const fs::path target = parent / folder_name(step);
  const fs::path temporary = temporary_folder(parent, step);
  try {
    replace_folder(temporary, target);
  } catch (...) {
    std::error_code code;
    fs::remove_all(temporary, code);
    throw;
  }
  tell(observer, CommitPoint::kCommitted);
  try {
    write_file_atomically(parent / "LATEST", folder_name(step) + "\n");
  } catch (const Error& error) {  // a hint for people: the checkpoint exists without it
    log::warn("{}", error.what());
  }
  tell(observer, CommitPoint::kHinted);
  return target;
}

fs::path write_checkpoint(const fs::path& parent, std::int64_t step, std::span<const NamedArray> arrays,
                          const std::string& state, const CommitObserver& observer) {
  stage_checkpoint(parent, build_checkpoint(step, arrays, state), observer);
  return commit_checkpoint(parent, step, observer);
}

fs::path quarantine(const fs::path& folder) {
  for (int number = 0;; ++number) {
    fs::path target = folder;
    target += number == 0 ? ".corrupt" : fmt::format(".corrupt.{}", number);
    std::error_code code;
    if (!fs::exists(fs::symlink_status(target, code))) {
      commit_folder(folder, target);
      return target;
    }
  }
}

void retire(const fs::path& parent, std::int64_t keep_last, std::span<const std::int64_t> protect) {
  std::int64_t kept = 0;
  for (const CheckpointPlace& place : list_checkpoints(parent)) {
    if (kept++ < keep_last || std::ranges::find(protect, place.step) != protect.end()) {
      continue;
    }
    const fs::path away = parent / (".del-" + place.folder.filename().string());
    remove_folder(away);
    commit_folder(place.folder, away);
    remove_folder(away);
  }
}

}  // namespace dormer::storage
