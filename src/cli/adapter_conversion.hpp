#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "dormer/interop/adapter_format.hpp"

namespace dormer::cli {

/// An adapter that shall be written for another program, without training.
struct ConversionRequest {
  std::filesystem::path source;
  std::string form;      ///< by name; empty: as it is recognized
  std::string consumer;  ///< export.for
  std::filesystem::path output;
  std::optional<std::filesystem::path>
      model{};  ///< a folder, a checkpoint of one file, or org/name in the offline cache
  std::string dtype = "float32";
  double shard_gib = 4.0;  ///< of a merged model's files
  bool allow_partial = false;
  std::optional<std::int64_t> approximate{};  ///< rank of a plain LoRA that stands for the adapter
  interop::FileText text{};
};

/// What a conversion wrote, and what it says about it.
struct Conversion {
  std::filesystem::path output;
  std::vector<std::string> notes;  ///< a line each: what was left out, warnings, what the program must be told
};

/// Reads, checks and writes; nothing stands at the output where that fails. Input faults: what is wrong with the file.
/// Usage errors: what the program does not compute, with the way out.
[[nodiscard]] Conversion convert_adapter(const ConversionRequest& request);

}  // namespace dormer::cli
