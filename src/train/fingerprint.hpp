#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace dormer::train {

/// What the numbers of a run depend on besides its configuration: name to text. Saved with every checkpoint.
using Fingerprint = std::map<std::string, std::string>;

/// How a stored fingerprint differs from that of this process; each entry is "name: stored -> current".
struct FingerprintComparison {
  std::vector<std::string> refused;  ///< model, data: it would be another experiment
  std::vector<std::string> inexact;  ///< processor, library, threads, …: the same experiment with other last bits
};

/// Pure.
[[nodiscard]] FingerprintComparison compare(const Fingerprint& stored, const Fingerprint& current);

/// Of a model's folder: config.json, and of every safetensors file its header, its size and 64 pages spread over it.
[[nodiscard]] std::string model_fingerprint(const std::filesystem::path& folder);

/// The same of one part of a diffusion model, whose files have this stem.
[[nodiscard]] std::string part_fingerprint(const std::filesystem::path& folder, std::string_view stem);

}  // namespace dormer::train
