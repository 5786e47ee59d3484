#pragma once

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
  [[nodiscard]] std::filesystem::path traces() const { return root / "trace"; }
  [[nodiscard]] std::filesystem::path trace(long step) const;
};

/// Ownership of a run directory, for as long as the object lives. The kernel takes the lock back when the process dies.
class RunLock {
 public:
  /// Makes the folder, checks that files can be made, flushed, renamed and removed in it (I/O error), and takes
  /// `run.lock`. An error of fault `kInUse` names the owner where another process holds it. The owner then removes what
  /// lives that were killed left half-written or half-removed.
  explicit RunLock(const RunPaths& paths);
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;
  ~RunLock();

 private:
  int descriptor_ = -1;
};

}  // namespace dormer::train
