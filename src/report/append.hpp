#pragma once

#include <filesystem>
#include <string_view>

namespace dormer::report {

/// Writes `bytes` at the end of an open file, with one write where the system takes them at once; an I/O error names
/// `file`.
void append(int descriptor, std::string_view bytes, const std::filesystem::path& file);

}  // namespace dormer::report
