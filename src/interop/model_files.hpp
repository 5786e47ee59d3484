#pragma once

#include <array>
#include <filesystem>
#include <string_view>
#include <system_error>

namespace dormer::interop {

/// What a tokenizer is made of.
inline constexpr std::array<std::string_view, 9> kTokenizerFiles{
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model",     "special_tokens_map.json", "vocab.json",
    "merges.txt",     "added_tokens.json",     "chat_template.jinja", "chat_template.json"};

/// Copies the tokenizer's files that stand in `from` into the new folder `to`; an empty `from`: nothing.
void copy_tokenizer(const std::filesystem::path& from, const std::filesystem::path& to);

/// Makes the folder `target` whole or not at all: `fill` writes into a folder beside it, which then takes its place. A
/// folder that stands there is replaced where it holds a file `marker` (or nothing); another one is a usage error.
template <typename Fill>
void write_folder(const std::filesystem::path& folder, std::string_view marker, const Fill& fill);

/// Calls `fill` with a path beside `place`, where it makes and checks a file or folder, which `replace` (replace_file
/// or replace_folder) then puts in its place. Where it throws, what stood there stays and nothing is left beside it.
template <typename Fill>
void write_checked(const std::filesystem::path& place,
                   void (*replace)(const std::filesystem::path& from, const std::filesystem::path& to),
                   const Fill& fill);

/// The two halves of `write_folder`.
[[nodiscard]] std::filesystem::path begin_folder(const std::filesystem::path& target, std::string_view marker);
void discard_folder(const std::filesystem::path& temporary) noexcept;
void finish_folder(const std::filesystem::path& temporary, const std::filesystem::path& target);

template <typename Fill>
void write_folder(const std::filesystem::path& folder, std::string_view marker, const Fill& fill) {
  // A trailing slash would make the temporary a child of the target.
  const std::filesystem::path target = folder.has_filename() ? folder : folder.parent_path();
  const std::filesystem::path temporary = begin_folder(target, marker);
  try {
    fill(temporary);
    finish_folder(temporary, target);
  } catch (...) {
    discard_folder(temporary);
    throw;
  }
}

template <typename Fill>
void write_checked(const std::filesystem::path& place,
                   void (*replace)(const std::filesystem::path& from, const std::filesystem::path& to),
                   const Fill& fill) {
  const std::filesystem::path temporary = place.parent_path() / (".unchecked-" + place.filename().string());
  try {
    fill(temporary);
    replace(temporary, place);
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove_all(temporary, ignored);
    throw;
  }
}

/// Whether `path` is `folder`, or lies in it.
[[nodiscard]] bool holds(const std::filesystem::path& folder, const std::filesystem::path& path);

}  // namespace dormer::interop
