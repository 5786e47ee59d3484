#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace dormer {

/// Writes `bytes` to a temporary file beside `path`, fsyncs it, renames it over `path` and fsyncs the folder.
/// On failure `path` is as before, the temporary is gone, and an I/O error names the path and the system's reason.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes);
void write_file_atomically(const std::filesystem::path& path, std::string_view text);
/// The same with pieces that lie one after the other in the file alone.
void write_pieces_atomically(const std::filesystem::path& path, std::span<const std::span<const std::byte>> pieces);

/// Removes the temporaries directly in `folder` that writes of killed processes left there, the functions above and
/// their names' makers: NAME.tmp-PROCESS and .probe-PROCESS, where no process of that number lives here. For a folder
/// that has one owner. A folder that does not exist is left alone, and so is what cannot be removed.
void remove_temporaries(const std::filesystem::path& folder);

/// Writes a new file (fails if it exists) and fsyncs it. For files inside a folder that is committed by rename.
void write_new_file(const std::filesystem::path& path, std::span<const std::byte> bytes);

/// fsyncs a folder, so that names in it survive a loss of power.
void sync_folder(const std::filesystem::path& folder);

/// Renames a folder without ever replacing one (renameat2 RENAME_NOREPLACE); syncs the parent.
void commit_folder(const std::filesystem::path& from, const std::filesystem::path& to);

/// Puts the folder `from` at `to`, also where a folder stands there: both names then change places in one step, and the
/// old folder is removed. Syncs the parent.
void replace_folder(const std::filesystem::path& from, const std::filesystem::path& to);

/// Renames a file over what stands at `to`, and syncs the folder.
void replace_file(const std::filesystem::path& from, const std::filesystem::path& to);

/// The whole file. `what` says in the error what it was meant to be.
[[nodiscard]] std::string read_file(const std::filesystem::path& path, std::string_view what);

}  // namespace dormer
