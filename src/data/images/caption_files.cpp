#include "caption_files.hpp"

#include <charconv>
#include <cstdint>

#include "dormer/core/error.hpp"
#include "dormer/storage/mapped_file.hpp"

namespace dormer::data {
namespace {

constexpr std::size_t kLongest = std::size_t{1} << 20;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::string_view kBlank = " \t\r\v\f";

std::string_view trimmed(std::string_view line) {
  const std::size_t begin = line.find_first_not_of(kBlank);
  return begin == std::string_view::npos ? std::string_view()
                                         : line.substr(begin, line.find_last_not_of(kBlank) + 1 - begin);
}

/// Bytes that follow a first byte, and the least number that so many may write; 4 bytes for what is none.
struct Sequence {
  std::size_t following;
  std::uint32_t least;
  std::uint32_t begin;
};

Sequence sequence_of(std::uint32_t first) {
  if (first < 0x80) {
    return {0, 0, first};
  }
  if (first >= 0xC2 && first < 0xE0) {
    return {1, 0x80, first & 0x1FU};
  }
  if (first >= 0xE0 && first < 0xF0) {
    return {2, 0x800, first & 0x0FU};
  }
  if (first >= 0xF0 && first < 0xF5) {
    return {3, 0x1'0000, first & 0x07U};
  }
  return {4, 0, 0};
}

}  // namespace

bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const Sequence sequence = sequence_of(static_cast<unsigned char>(text[i]));
    if (sequence.following > 3 || text.size() - i <= sequence.following) {
      return false;
    }
    std::uint32_t point = sequence.begin;
    for (std::size_t k = 0; k < sequence.following; ++k) {
      const std::uint32_t byte = static_cast<unsigned char>(text[++i]);
      if ((byte & 0xC0U) != 0x80) {
        return false;
      }
      point = point << 6 | (byte & 0x3FU);
    }
    if (point < sequence.least || point > 0x10'FFFF || (point >= 0xD800 && point < 0xE000)) {
      return false;
    }
  }
  return true;
}

std::vector<std::string> read_captions(const std::filesystem::path& path) {
  const auto file = storage::MappedFile::open(path, "captions");
  require(file->bytes().size() <= kLongest, Fault::kInput,
          "{} has {} bytes, too many for captions; is it the right file?", path.string(), file->bytes().size());
  std::string_view text(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
  require(is_utf8(text), Fault::kInput, "{} is no text in UTF-8; write it again in that encoding", path.string());
  if (text.starts_with(kByteOrderMark)) {
    text.remove_prefix(kByteOrderMark.size());
  }
  std::vector<std::string> captions;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    if (const std::string_view line = trimmed(text.substr(0, end)); !line.empty()) {
      captions.emplace_back(line);
    }
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  if (captions.empty()) {
    captions.emplace_back();
  }
  return captions;
}

FolderName read_folder_name(std::string_view name) {
  std::int64_t repeats = 0;
  const auto [end, code] = std::from_chars(name.data(), name.data() + name.size(), repeats);
  const auto digits = static_cast<std::size_t>(end - name.data());
  if (code != std::errc() || repeats <= 0 || digits >= name.size() || name[digits] != '_') {
    return {std::string(name), 0.0};
  }
  return {std::string(name.substr(digits + 1)), static_cast<double>(repeats)};
}

}  // namespace dormer::data
