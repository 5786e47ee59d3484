#include "model_files.hpp"

#include <span>
#include <string>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"

namespace dormer::interop {

namespace fs = std::filesystem;

void copy_tokenizer(const fs::path& from, const fs::path& to) {
  for (const std::string_view name : kTokenizerFiles) {
    std::error_code code;
    if (!from.empty() && fs::is_regular_file(from / name, code)) {
      const std::string text = read_file(from / name, "tokenizer file");
      write_new_file(to / name, std::as_bytes(std::span(text)));
    }
  }
}

fs::path begin_folder(const fs::path& target, std::string_view marker) {
  std::error_code code;
  const bool stranger =
      fs::exists(fs::symlink_status(target, code)) &&
      !(fs::is_directory(target, code) && (fs::is_empty(target, code) || fs::exists(target / marker, code)));
  require(!stranger, Fault::kUsage, "{} exists and holds no {}, so it is not replaced; name another folder",
          target.string(), marker);
  const fs::path temporary = target.parent_path() / (".tmp-" + target.filename().string());
  fs::remove_all(temporary, code);
  fs::create_directories(temporary, code);
  require(!code, Fault::kIo, "cannot make the folder {}: {}", temporary.string(), code.message());
  return temporary;
}

void discard_folder(const fs::path& temporary) noexcept {
  std::error_code code;
  fs::remove_all(temporary, code);
}

void finish_folder(const fs::path& temporary, const fs::path& target) {
  sync_folder(temporary);
  replace_folder(temporary, target);
}

bool holds(const std::filesystem::path& folder, const std::filesystem::path& path) {
  const std::filesystem::path inside =
      std::filesystem::weakly_canonical(path).lexically_relative(std::filesystem::weakly_canonical(folder));
  return !inside.empty() && *inside.begin() != "..";
}

}  // namespace dormer::interop
