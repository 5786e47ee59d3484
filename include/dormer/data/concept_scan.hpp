#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "dormer/data/bucket_plan.hpp"
#include "dormer/data/buckets.hpp"
#include "dormer/data/concepts.hpp"

namespace dormer::data {

/// An image file of a concept, of which nothing but the name is known.
struct ImageFile {
  std::size_t concept_index = 0;
  std::filesystem::path path;  ///< as the concept writes its folder
  double repeats = 1.0;        ///< of the concept, or of a folder "10_teapot"
  bool operator==(const ImageFile&) const = default;
};

/// What a file says about itself.
struct ImageEntry {
  ImageSize size;
  std::string content;                ///< XXH3 with 128 bits over the file's bytes
  std::vector<std::string> captions;  ///< one is drawn each time; never empty
  std::filesystem::path mask;         ///< empty: none
  std::string mask_content;           ///< as `content`
  std::string bad;                    ///< why the file cannot be used, in one line that names it; empty: it can
  bool operator==(const ImageEntry&) const = default;
};

/// Every image of the concepts, by concept and then by name, byte by byte: whatever order a folder lists them in.
/// Files and folders whose names begin with a dot, and masks beside images, are none of them. Usage errors name a
/// concept whose folder is missing or has no image; an I/O error a folder that cannot be listed.
[[nodiscard]] std::vector<ImageFile> list_images(std::span<const ConceptConfig> concepts);

/// What files [begin, end) say, in their order; ranks share the work by ranges. What is wrong with a file stands in its
/// entry. Usage errors are about a whole concept: a missing file of captions or folder of masks.
[[nodiscard]] std::vector<ImageEntry> read_entries(std::span<const ConceptConfig> concepts,
                                                   std::span<const ImageFile> files, std::size_t begin,
                                                   std::size_t end);

/// What happens to files that cannot be used.
enum class BadFiles {
  kSkip,    ///< they are left out; `ConceptScan::bad` names each
  kRefuse,  ///< an input error names them
};

/// One image to train on or to validate with.
struct ConceptImage {
  ImageFile file;
  ImageEntry entry;
};

struct ConceptScan {
  std::vector<ConceptImage> images;
  std::vector<std::string> bad;  ///< reasons, in the order of files
};

/// Joins what was listed and read. An input error for bad files under `kRefuse` (counted; the first twenty named), and
/// for a concept of which nothing is left. Spreads `samples` of a concept over its images. Pure.
[[nodiscard]] ConceptScan join_scan(std::span<const ConceptConfig> concepts, std::span<const ImageFile> files,
                                    std::span<const ImageEntry> entries, BadFiles policy);

/// All of the above by one process.
[[nodiscard]] ConceptScan scan_concepts(std::span<const ConceptConfig> concepts, BadFiles policy);

/// The images as items of a plan, in their order: bucket by `choose_bucket`, a group for each concept and repeats.
/// Pure.
[[nodiscard]] std::vector<BucketItem> bucket_items(std::span<const ConceptImage> images,
                                                   std::span<const Bucket> buckets);

}  // namespace dormer::data
