#include "train/fingerprint.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include <fmt/format.h>

#include "dormer/core/atomic_file.hpp"
#include "dormer/storage/checksum.hpp"
#include "dormer/storage/mapped_file.hpp"
#include "dormer/storage/safetensors.hpp"

namespace dormer::train {
namespace {

constexpr std::array<std::string_view, 4> kExperiment{"model", "data.train", "data.validation", "dtype"};
constexpr std::size_t kPage = 4'096;
constexpr std::size_t kPages = 64;

std::string hash_text(std::string_view text) {
  return storage::xxh3_128(std::as_bytes(std::span(text.data(), text.size())));
}

// The header names every array with dtype, shape and place; it stands at the file's start, before any page in between.
std::string hash_weights(const storage::SafetensorsFile& file) {
  const std::shared_ptr<const storage::MappedFile> mapping = storage::MappedFile::open(file.path(), "model weights");
  const std::span<const std::byte> bytes = mapping->bytes();
  const std::size_t header =
      static_cast<std::size_t>(storage::parse_safetensors(bytes, file.path().string()).data_begin);
  std::string sums = fmt::format("{} {}", bytes.size(), storage::xxh3_128(bytes.first(header)));
  for (std::size_t index = 0; index < kPages; ++index) {
    const std::size_t begin = header + (bytes.size() - header) / kPages * index;
    sums += storage::xxh3_128(bytes.subspan(begin, std::min(kPage, bytes.size() - begin)));
  }
  return sums;
}

}  // namespace

FingerprintComparison compare(const Fingerprint& stored, const Fingerprint& current) {
  FingerprintComparison result;
  for (const auto& [name, value] : current) {
    const auto before = stored.find(name);
    const std::string old = before == stored.end() ? "absent" : before->second;
    if (old == value) {
      continue;
    }
    const bool experiment = std::find(kExperiment.begin(), kExperiment.end(), name) != kExperiment.end();
    (experiment ? result.refused : result.inexact).push_back(fmt::format("{}: {} -> {}", name, old, value));
  }
  return result;
}

std::string model_fingerprint(const std::filesystem::path& folder) {
  return part_fingerprint(folder, "model");
}

std::string part_fingerprint(const std::filesystem::path& folder, std::string_view stem) {
  std::string sums = hash_text(read_file(folder / "config.json", "model configuration"));
  const storage::SafetensorsSet weights = storage::SafetensorsSet::open_folder(folder, stem);
  for (const auto& file : weights.files()) {
    sums += hash_weights(*file);
  }
  return hash_text(sums);
}

}  // namespace dormer::train
