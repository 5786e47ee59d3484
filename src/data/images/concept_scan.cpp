#include "dormer/data/concept_scan.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "caption_files.hpp"
#include "dormer/core/error.hpp"
#include "dormer/data/image.hpp"
#include "dormer/storage/checksum.hpp"
#include "dormer/storage/mapped_file.hpp"

namespace dormer::data {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kNamed = 20;  // bad files that an error names
constexpr std::string_view kMaskEnding = "-masklabel";
// BMP is none that we read, but leaving such images out without a word would be worse than naming them.
constexpr std::array<std::string_view, 13> kExtensions{".jpg",  ".jpeg", ".jfif", ".png",  ".webp", ".gif", ".tif",
                                                       ".tiff", ".avif", ".heic", ".heif", ".jxl",  ".bmp"};

bool is_image(const fs::path& path) {
  std::string extension = path.extension().string();
  std::ranges::transform(extension, extension.begin(), [](char letter) {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
  });
  return std::ranges::find(kExtensions, extension) != kExtensions.end() && !path.stem().string().ends_with(kMaskEnding);
}

fs::path beside(const fs::path& image, std::string_view ending) {
  fs::path path = image;
  path.replace_extension();
  path += ending;
  return path;
}

bool is_hidden(const fs::path& path) {
  return path.filename().string().starts_with('.');
}

/// Relative paths of the images in `folder`.
std::vector<std::string> image_names(const ConceptConfig& config) {
  std::vector<std::string> names;
  std::error_code code;
  fs::recursive_directory_iterator at(config.path, code);
  while (!code && at != fs::recursive_directory_iterator()) {
    std::error_code no_file;  // a link to nowhere is named when it is read
    const bool folder = at->is_directory(no_file);
    if (folder && (!config.subfolders || is_hidden(at->path()))) {
      at.disable_recursion_pending();
    }
    if (!folder && !is_hidden(at->path()) && is_image(at->path())) {
      names.push_back(at->path().lexically_relative(config.path).generic_string());
    }
    at.increment(code);
  }
  require(!code, Fault::kIo, "{} cannot be listed: {}", config.path.string(), code.message());
  std::ranges::sort(names);
  return names;
}

/// What the nearest folder whose name begins with a number says; 1 without one.
double repeats_of(const ConceptConfig& config, const fs::path& relative) {
  if (config.repeats) {
    return *config.repeats;
  }
  for (fs::path folder = relative.parent_path(); !folder.empty(); folder = folder.parent_path()) {
    if (const double repeats = read_folder_name(folder.filename().string()).repeats; repeats > 0.0) {
      return repeats;
    }
  }
  ConceptConfig unnamed = config;
  unnamed.name.clear();
  const double repeats = read_folder_name(unnamed.shown_name()).repeats;
  return repeats > 0.0 ? repeats : 1.0;
}

/// Captions of files that are read once for a whole concept.
using SharedCaptions = std::map<std::size_t, std::vector<std::string>>;

bool is_caption_file(const ConceptConfig& config) {
  static const std::set<std::string> kWords{"sidecar", "filename", "folder", "none"};
  return !kWords.contains(config.captions);
}

std::vector<std::string> sidecar_captions(const fs::path& image) {
  for (const std::string_view ending : {".txt", ".caption"}) {
    std::error_code ignored;
    if (const fs::path path = beside(image, ending); fs::exists(path, ignored)) {
      return read_captions(path);
    }
  }
  fail(Fault::kInput, "{} has no caption: there is neither {} nor {}; write one, or set captions of its concept",
       image.string(), beside(image, ".txt").filename().string(), beside(image, ".caption").filename().string());
}

std::vector<std::string> captions_of(const ConceptConfig& config, const ImageFile& file, const SharedCaptions& shared) {
  if (const auto found = shared.find(file.concept_index); found != shared.end()) {
    return found->second;
  }
  if (config.captions == "sidecar") {
    return sidecar_captions(file.path);
  }
  if (config.captions == "none") {
    return {""};
  }
  std::string caption = file.path.stem().string();
  if (config.captions == "folder") {
    fs::path folder = file.path.lexically_normal().parent_path();
    caption = read_folder_name(folder.filename().string()).caption;
  }
  require(is_utf8(caption), Fault::kInput, "the name of {} is no UTF-8, so that it is no caption; rename it",
          file.path.string());
  return {caption};
}

fs::path mask_of(const ConceptConfig& config, const fs::path& image) {
  if (config.masks.source == "none") {
    return {};
  }
  const fs::path path = config.masks.source == "sidecar"
                            ? beside(image, std::string(kMaskEnding) + ".png")
                            : beside(fs::path(config.masks.source) / image.lexically_relative(config.path), ".png");
  std::error_code ignored;
  if (fs::exists(path, ignored)) {
    return path;
  }
  require(!config.masks.required, Fault::kInput,
          "{} has no mask {}; make one, or set masks.required: false for its concept", image.string(), path.string());
  return {};
}

std::string content_of(const fs::path& path) {
  return storage::xxh3_128(storage::MappedFile::open(path, "image")->bytes());
}

ImageEntry read_entry(const ConceptConfig& config, const ImageFile& file, const SharedCaptions& shared) {
  ImageEntry entry;
  try {
    entry.content = content_of(file.path);
    entry.size = image_size(file.path);
    entry.captions = captions_of(config, file, shared);
    entry.mask = mask_of(config, file.path);
    if (!entry.mask.empty()) {
      const ImageSize mask = image_size(entry.mask);
      require(mask == entry.size, Fault::kInput, "the mask {} is {}x{} pixels, {} is {}x{}; make them one size",
              entry.mask.string(), mask.width, mask.height, file.path.string(), entry.size.width, entry.size.height);
      entry.mask_content = content_of(entry.mask);
    }
  } catch (const Error& error) {
    if (error.fault() != Fault::kInput) {  // a disk that fails makes no file a bad one
      throw;
    }
    return {.size = {}, .content = {}, .captions = {}, .mask = {}, .mask_content = {}, .bad = error.what()};
  }
  return entry;
}

void check_masks(const ConceptConfig& config) {
  const std::string& source = config.masks.source;
  std::error_code ignored;
  require(source == "none" || source == "sidecar" || fs::is_directory(source, ignored), Fault::kUsage,
          "the masks of the concept {} shall be in {}, which is no folder; write masks.source: none, sidecar or a "
          "folder",
          config.shown_name(), source);
}

void refuse(const std::vector<std::string>& bad, std::size_t files) {
  std::string message =
      fmt::format("{} of {} images cannot be used (data.bad_files: skip leaves them out):", bad.size(), files);
  for (std::size_t i = 0; i < std::min(bad.size(), kNamed); ++i) {
    message += "\n  " + bad[i];
  }
  if (bad.size() > kNamed) {
    message += fmt::format("\n  and {} more", bad.size() - kNamed);
  }
  fail(Fault::kInput, "{}", message);
}

}  // namespace

std::vector<ImageFile> list_images(std::span<const ConceptConfig> concepts) {
  std::vector<ImageFile> files;
  for (std::size_t i = 0; i < concepts.size(); ++i) {
    const ConceptConfig& config = concepts[i];
    std::error_code ignored;
    require(fs::is_directory(config.path, ignored), Fault::kUsage, "the concept {} has no folder {}; see data.concepts",
            config.shown_name(), config.path.string());
    const std::vector<std::string> names = image_names(config);
    require(!names.empty(), Fault::kUsage,
            "the concept {} has no image in {}; images end in .jpg, .png, .webp and so on", config.shown_name(),
            config.path.string());
    for (const std::string& name : names) {
      files.push_back({.concept_index = i, .path = config.path / name, .repeats = repeats_of(config, name)});
    }
  }
  return files;
}

std::vector<ImageEntry> read_entries(std::span<const ConceptConfig> concepts, std::span<const ImageFile> files,
                                     std::size_t begin, std::size_t end) {
  invariant(begin <= end && end <= files.size(), "files {} to {} of {}", begin, end, files.size());
  SharedCaptions shared;
  for (std::size_t i = 0; i < concepts.size(); ++i) {
    check_masks(concepts[i]);
    if (is_caption_file(concepts[i])) {
      std::error_code ignored;
      require(fs::is_regular_file(concepts[i].captions, ignored), Fault::kUsage,
              "the captions of the concept {} shall be in {}, which is no file; write captions: sidecar, filename, "
              "folder, none or a file",
              concepts[i].shown_name(), concepts[i].captions);
      shared.emplace(i, read_captions(concepts[i].captions));
    }
  }
  std::vector<ImageEntry> entries;
  for (std::size_t i = begin; i < end; ++i) {
    entries.push_back(read_entry(concepts[files[i].concept_index], files[i], shared));
  }
  return entries;
}

ConceptScan join_scan(std::span<const ConceptConfig> concepts, std::span<const ImageFile> files,
                      std::span<const ImageEntry> entries, BadFiles policy) {
  invariant(files.size() == entries.size(), "{} files, but {} of them read", files.size(), entries.size());
  ConceptScan scan;
  std::vector<std::int64_t> usable(concepts.size(), 0);
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (entries[i].bad.empty()) {
      scan.images.push_back({files[i], entries[i]});
      ++usable[files[i].concept_index];
    } else {
      scan.bad.push_back(entries[i].bad);
    }
  }
  if (policy == BadFiles::kRefuse && !scan.bad.empty()) {
    refuse(scan.bad, files.size());
  }
  for (std::size_t i = 0; i < concepts.size(); ++i) {
    require(usable[i] > 0, Fault::kInput, "no image of the concept {} in {} can be used; the first reason: {}",
            concepts[i].shown_name(), concepts[i].path.string(), scan.bad.empty() ? "it has none" : scan.bad.front());
  }
  for (ConceptImage& image : scan.images) {
    const ConceptConfig& config = concepts[image.file.concept_index];
    if (config.samples) {
      image.file.repeats = static_cast<double>(*config.samples) / static_cast<double>(usable[image.file.concept_index]);
    }
  }
  return scan;
}

ConceptScan scan_concepts(std::span<const ConceptConfig> concepts, BadFiles policy) {
  const std::vector<ImageFile> files = list_images(concepts);
  return join_scan(concepts, files, read_entries(concepts, files, 0, files.size()), policy);
}

std::vector<BucketItem> bucket_items(std::span<const ConceptImage> images, std::span<const Bucket> buckets) {
  std::map<std::pair<std::size_t, double>, std::int64_t> groups;
  std::vector<BucketItem> items;
  for (const ConceptImage& image : images) {
    const auto group = groups.try_emplace({image.file.concept_index, image.file.repeats}, std::ssize(groups)).first;
    items.push_back({.bucket = static_cast<std::int64_t>(choose_bucket(image.entry.size, buckets)),
                     .group = group->second,
                     .repeats = image.file.repeats});
  }
  return items;
}

}  // namespace dormer::data
