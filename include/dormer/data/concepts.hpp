#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "dormer/config/visitor.hpp"

namespace dormer::data {

/// Which parts of the images of a concept count.
struct MaskConfig {
  std::string source = "none";   ///< none | sidecar (NAME-masklabel.png beside NAME.jpg) | a folder with NAME.png
  bool required = true;          ///< an image without a mask is a bad file; else all of it counts
  double unmasked_weight = 0.1;  ///< of the loss where the mask is black
  void describe(config::Visitor& visitor);
};

/// A folder of images with one purpose. docs/images.md says what is found in it.
struct ConceptConfig {
  std::filesystem::path path;
  std::string name;                     ///< empty: the folder's
  std::string captions = "sidecar";     ///< sidecar | filename | folder | none | a file with a caption a line
  bool subfolders = true;               ///< images in folders below count, too
  std::optional<double> repeats;        ///< drawings of each image in an epoch; absent: 10 in "10_teapot", else 1
  std::optional<std::int64_t> samples;  ///< drawings of an epoch from the whole concept, in place of repeats
  double loss_weight = 1.0;
  std::string role = "train";  ///< train | validation | prior
  bool random_crop = false;
  double flip_probability = 0.0;
  MaskConfig masks;
  void describe(config::Visitor& visitor);

  [[nodiscard]] std::string shown_name() const;
};

/// What is wrong with the concepts as they are written: messages "path.to.key: text" under `group`. Pure.
[[nodiscard]] std::vector<std::string> check_concepts(const std::vector<ConceptConfig>& concepts,
                                                      const std::string& group);

}  // namespace dormer::data
