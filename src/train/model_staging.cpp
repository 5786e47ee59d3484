#include "train/model_staging.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <span>
#include <system_error>
#include <vector>

#include <sys/vfs.h>
#include <unistd.h>

#include "dormer/comm/gather.hpp"
#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/storage/checksum.hpp"
#include "dormer/storage/mapped_file.hpp"
#include "dormer/storage/safetensors.hpp"
#include "train/agreement.hpp"
#include "train/fingerprint.hpp"

namespace dormer::train {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPiece = std::size_t{8} << 20U;
constexpr double kGiga = 1e9;
constexpr std::chrono::seconds kBetweenLines{10};

/// Files of a model's folder that loading it reads.
std::vector<fs::path> files_of(const fs::path& model) {
  std::vector<fs::path> files{model / "config.json"};
  if (fs::exists(model / "model.safetensors.index.json")) {
    files.push_back(model / "model.safetensors.index.json");
  }
  const storage::SafetensorsSet weights = storage::SafetensorsSet::open_folder(model);
  for (const auto& file : weights.files()) {
    files.push_back(file->path());
  }
  return files;
}

std::uintmax_t bytes_of(const std::vector<fs::path>& files) {
  std::uintmax_t bytes = 0;
  for (const fs::path& file : files) {
    bytes += fs::file_size(file);
  }
  return bytes;
}

/// Calls `piece` with a file's bytes, one piece after the other. Reads; a mapping would end the process if the file
/// became shorter.
void for_pieces(const fs::path& path, const std::function<void(std::span<const std::byte>)>& piece) {
  std::ifstream file(path, std::ios::binary);
  require(file.good(), Fault::kIo, "cannot open {}: {}", path.string(), std::strerror(errno));
  std::vector<char> buffer(kPiece);
  while (file.read(buffer.data(), std::ssize(buffer)), file.gcount() > 0) {
    piece(std::as_bytes(std::span(buffer.data(), static_cast<std::size_t>(file.gcount()))));
  }
  require(!file.bad(), Fault::kIo, "cannot read {}", path.string());
}

/// Says from time to time how far it is.
class CopyProgress {
 public:
  CopyProgress(std::uintmax_t total, const std::function<void()>& told) : total_(total), told_(told) {}
  void add(std::size_t bytes) {
    done_ += bytes;
    told_();
    if (const auto now = std::chrono::steady_clock::now(); now - last_ > kBetweenLines) {
      last_ = now;
      log::info("staging the model: {:.1f} of {:.1f} GB", static_cast<double>(done_) / kGiga,
                static_cast<double>(total_) / kGiga);
    }
  }

 private:
  std::uintmax_t total_;
  const std::function<void()>& told_;
  std::uintmax_t done_ = 0;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

void copy_file(const fs::path& from, const fs::path& to, CopyProgress& progress) {
  std::vector<std::string> sums;
  {
    std::ofstream copy(to, std::ios::binary | std::ios::trunc);
    for_pieces(from, [&](std::span<const std::byte> piece) {
      sums.push_back(storage::xxh3_128(piece));
      copy.write(reinterpret_cast<const char*>(piece.data()), std::ssize(piece));
      progress.add(piece.size());
    });
    copy.close();
    require(copy.good(), Fault::kIo, "cannot write {}: {}", to.string(), std::strerror(errno));
  }
  std::size_t index = 0;
  for_pieces(to, [&](std::span<const std::byte> piece) {
    require(index < sums.size() && storage::xxh3_128(piece) == sums[index], Fault::kInput,
            "{} is not what was read from {}: look at the disk, or write model.stage: none", to.string(),
            from.string());
    ++index;
  });
  require(index == sums.size(), Fault::kInput, "{} is shorter than {}", to.string(), from.string());
}

}  // namespace

std::optional<fs::path> staging_folder(const std::string& wish, bool on_network, const comm::Environment& environment) {
  if (wish == "none") {
    return std::nullopt;
  }
  if (wish != "auto") {
    return fs::path(wish);
  }
  if (!on_network || !environment.contains("SLURM_JOB_ID")) {
    return std::nullopt;
  }
  for (const char* name : {"SLURM_TMPDIR", "TMPDIR"}) {
    const auto found = environment.find(name);
    if (found != environment.end() && !found->second.empty()) {
      return fs::path(found->second);
    }
  }
  return std::nullopt;
}

bool is_roomy(const fs::path& place, std::uintmax_t bytes) {
  constexpr unsigned long kMemory = 0x01021994;  // tmpfs
  struct statfs found {};
  std::error_code code;
  const fs::space_info space = fs::space(place, code);
  return ::statfs(place.c_str(), &found) == 0 && static_cast<unsigned long>(found.f_type) != kMemory && !code &&
         space.available >= bytes;
}

fs::path copy_model(const fs::path& model, const fs::path& place, const std::function<void()>& progress) {
  const std::string fingerprint = model_fingerprint(model);
  const fs::path target = place / ("dormer-" + fingerprint);
  std::error_code code;
  if (fs::exists(target, code)) {
    log::info("the model is staged in {}", target.string());
    return target;
  }
  const std::vector<fs::path> files = files_of(model);
  const std::uintmax_t bytes = bytes_of(files);
  fs::create_directories(place, code);
  require(!code, Fault::kIo, "model.stage: cannot make {}: {}", place.string(), code.message());
  const fs::space_info space = fs::space(place, code);
  require(code || space.available >= bytes, Fault::kIo,
          "model.stage: {} has {:.1f} GB of free space, and the model takes {:.1f}; name another folder, or write none",
          place.string(), static_cast<double>(space.available) / kGiga, static_cast<double>(bytes) / kGiga);
  remove_temporaries(place);
  const fs::path temporary = place / fmt::format("dormer-{}.tmp-{}", fingerprint, ::getpid());
  try {
    fs::create_directory(temporary);
    CopyProgress told(bytes, progress);
    for (const fs::path& file : files) {
      copy_file(file, temporary / file.filename(), told);
    }
    require(model_fingerprint(temporary) == fingerprint, Fault::kInput, "{} changed while it was copied",
            model.string());
    commit_folder(temporary, target);
  } catch (...) {
    fs::remove_all(temporary, code);
    if (fs::exists(target, code)) {  // another job of this machine was quicker
      return target;
    }
    throw;
  }
  log::info("the model is staged in {} ({:.1f} GB)", target.string(), static_cast<double>(bytes) / kGiga);
  return target;
}

fs::path stage_model(comm::Communicator& communicator, const fs::path& model, const std::string& wish,
                     const std::function<void()>& progress) {
  std::optional<fs::path> place;
  fs::path folder = model;
  const std::vector<std::string> hosts = comm::gather_texts(communicator, communicator.identity().host);
  const auto first = std::ranges::find(hosts, communicator.identity().host) - hosts.begin();
  const bool copies = first == communicator.rank();  // not `local_rank`, which counts the ranks of other parts, too
  agree(communicator, [&] {
    place = staging_folder(wish, storage::on_network(model), comm::current_environment());
    if (place && wish == "auto" && !is_roomy(*place, bytes_of(files_of(model)))) {
      log::info("the model is read from where it lies: {} has no room for a copy", place->string());
      place.reset();
    }
    if (place && copies) {
      folder = copy_model(model, *place, progress);
    }
  });
  agree(communicator, [&] {
    if (place && !copies) {
      folder = copy_model(model, *place, progress);  // it is there: this finds it
    }
  });
  return folder;
}

}  // namespace dormer::train
