#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/inspection.hpp"
#include "dormer/interop/stored_adapter.hpp"

namespace dormer::cli {

/// What one program would make of an adapter.
struct Verdict {
  std::string consumer;
  std::string form;    ///< that it reads
  std::string reason;  ///< why it cannot compute the adapter, and the way out; empty: it computes it exactly
};

/// All that a file or folder says of an adapter.
struct AdapterReport {
  std::filesystem::path path;
  std::string form;  ///< by name
  interop::StoredAdapter adapter;
  std::string weights;  ///< numbers, dtypes and bytes of its files
  std::vector<Verdict> verdicts;
  std::vector<std::string> warnings;
};

/// The form of an adapter's file or folder; empty where it is none.
[[nodiscard]] std::string adapter_form(const std::filesystem::path& path);

/// Reads an adapter of the form `form`. What its reader does not understand is told as a warning; what it cannot read
/// without is an input fault.
[[nodiscard]] AdapterReport report_adapter(const std::filesystem::path& path, const std::string& form);

/// For a person. Pure, as the next.
[[nodiscard]] Inspection describe(const AdapterReport& report);

/// One JSON object, format dormer.adapter/1 (docs/interoperability.md).
[[nodiscard]] std::string to_json(const AdapterReport& report);

}  // namespace dormer::cli
