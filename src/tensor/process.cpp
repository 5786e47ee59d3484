#include "dormer/tensor/process.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include <malloc.h>

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/version.h>

#include "dormer/core/error.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/memory.hpp"

namespace dormer::tensor {
namespace {

/// The value of the first line of /proc/cpuinfo that starts with `key`, or nothing.
std::string cpu_info(const std::string& key) {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with(key)) {
      const std::size_t colon = line.find(':');
      return colon == std::string::npos ? std::string() : line.substr(colon + 2);
    }
  }
  return {};
}

/// oneDNN shares its work out to as many threads as were asked for: what OpenMP then refuses is never computed.
void require_allowed(std::int64_t threads) {
  const char* limit = std::getenv("OMP_THREAD_LIMIT");
  const std::int64_t allowed = limit == nullptr ? 0 : std::atoll(limit);
  require(allowed < 1 || threads <= allowed, Fault::kUsage,
          "run.threads is {}, but OMP_THREAD_LIMIT lets this process have {}: unset it, or write run.threads: {}",
          threads, allowed, allowed);
}

}  // namespace

void configure_process(std::int64_t threads) {
  require(threads >= 1, Fault::kUsage, "run.threads must be at least 1: {}", threads);
  require_allowed(threads);
  constexpr int kGibibyte = 1 << 30;
  count_memory();
  mallopt(M_MMAP_THRESHOLD, kGibibyte);
  mallopt(M_TRIM_THRESHOLD, kGibibyte);
  mallopt(M_TOP_PAD, 64 << 20);
  at::set_num_threads(static_cast<int>(threads));
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);  // without it cuBLAS refuses to be deterministic
  set_deterministic_kernels(true);
  at::globalContext().setDeterministicFillUninitializedMemory(false);
}

void set_deterministic_kernels(bool deterministic) {
  at::globalContext().setDeterministicAlgorithms(deterministic, /*warn_only=*/false);
}

void for_parts(std::int64_t count, std::int64_t grain, const std::function<void(std::int64_t, std::int64_t)>& body) {
  at::parallel_for(0, count, grain, body);
}

void for_items(std::int64_t count, const std::function<void(std::int64_t)>& body) {
  std::atomic<std::int64_t> next = 0;
  const std::int64_t threads = std::min<std::int64_t>(at::get_num_threads(), count);
  at::parallel_for(0, threads, 1, [&](std::int64_t /*begin*/, std::int64_t /*end*/) {
    const NoRecording guard;  // of this thread
    for (std::int64_t index = next++; index < count; index = next++) {
      body(index);
    }
  });
}

std::string library_fingerprint() {
  return fmt::format("libtorch {} {}", TORCH_VERSION, at::get_cpu_capability());
}

std::string cpu_fingerprint() {
  return fmt::format("{} family {} model {}", cpu_info("vendor_id"), cpu_info("cpu family"), cpu_info("model\t"));
}

bool cpu_has_bfloat16() {
  std::istringstream flags(cpu_info("flags"));
  std::string flag;
  while (flags >> flag) {
    if (flag == "avx512_bf16" || flag == "amx_bf16") {
      return true;
    }
  }
  return false;
}

}  // namespace dormer::tensor
