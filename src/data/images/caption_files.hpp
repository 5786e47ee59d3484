#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace dormer::data {

/// The captions of a text file: its lines without what is blank at either end, blank ones left out; one empty caption
/// for a file without others. Input errors name a file that is no UTF-8 or over 1 MiB, an I/O error one that the system
/// refuses.
[[nodiscard]] std::vector<std::string> read_captions(const std::filesystem::path& path);

/// "teapot on a table" and 10 for "10_teapot on a table"; the whole name and 0 without a number before it. Pure.
struct FolderName {
  std::string caption;
  double repeats = 0.0;
};
[[nodiscard]] FolderName read_folder_name(std::string_view name);

/// Whether text is well-formed UTF-8 (RFC 3629). Pure.
[[nodiscard]] bool is_utf8(std::string_view text);

}  // namespace dormer::data
