#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace dormer::train {

/// Where the files of a run lie. Names only; nothing is touched.
struct RunPaths {
  std::filesystem::path root;
  [[nodiscard]] std::filesystem::path config() const { return root / "config.yaml"; }
  [[nodiscard]] std::filesystem::path lock() const { return root / "run.lock"; }
  [[nodiscard]] std::filesystem::path log() const { return root / "log.txt"; }
  [[nodiscard]] std::filesystem::path metrics() const { return root / "metrics.jsonl"; }
  [[nodiscard]] std::filesystem::path tensorboard() const { return root / "tensorboard"; }
  [[nodiscard]] std::filesystem::path report() const { return root / "report.html"; }
  [[nodiscard]] std::filesystem::path checkpoints() const { return root / "checkpoints"; }
  [[nodiscard]] std::filesystem::path exports() const { return root / "export"; }
  [[nodiscard]] std::filesystem::path exported(const std::string& consumer) const { return exports() / consumer; }
  /// Which step each export was made from.
  [[nodiscard]] std::filesystem::path export_record() const { return exports() / "exports.json"; }
  /// Of pictures made after so many updates.
  [[nodiscard]] std::filesystem::path samples(long step) const;
  /// What the ranks of a life that hung were doing.
  [[nodiscard]] std::filesystem::path hung() const { return root / "hung"; }
  [[nodiscard]] std::filesystem::path traces() const { return root / "trace"; }
  [[nodiscard]] std::filesystem::path trace(long step) const;
};

/// Says so in the log if the file system of the run directory has less room than `copies` checkpoints of `bytes` take,
/// beyond those that are there: better now than after hours.
void warn_of_little_space(const RunPaths& paths, std::int64_t bytes, std::int64_t copies);

/// Ownership of a run directory, for as long as the object lives. The kernel takes the lock back when the process dies.
class RunLock {
 public:
  /// Makes the folder, checks that files can be made, flushed, renamed and removed in it (I/O error), and takes
  /// `run.lock`. An error of fault `kInUse` names the owner where another process holds it; one of the same Slurm job
  /// is a former life, whose end is awaited for up to a minute. The owner then removes what lives that were killed left
  /// half-written or half-removed.
  explicit RunLock(const RunPaths& paths);
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;
  ~RunLock();

  /// Throws an error of fault `kInUse` if another process has taken the directory meanwhile: on file systems where
  /// locks do not work nothing else would tell. Asked before a checkpoint is committed.
  void require_ownership() const;

 private:
  void take();

  std::filesystem::path file_;
  std::string owner_;  // one line: host, process, time, job
  int descriptor_ = -1;
};

}  // namespace dormer::train
