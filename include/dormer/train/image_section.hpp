#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "dormer/config/visitor.hpp"
#include "dormer/data/caption_rules.hpp"
#include "dormer/data/concepts.hpp"

namespace dormer::train {

/// Which sizes images are brought to.
struct BucketSection {
  std::int64_t step = 64;
  double max_aspect = 4.0;
  std::string small = "carry";  ///< carry | drop
  void describe(config::Visitor& visitor);
};

/// Pictures with captions.
struct ImageSection {
  std::vector<double> resolution{512.0};
  BucketSection buckets;
  std::filesystem::path cache = "cache";
  std::int64_t variations = 1;     ///< of a random cut, that an image has
  std::string bad_files = "skip";  ///< skip | refuse
  data::CaptionRules captions;
  std::vector<data::ConceptConfig> concepts;
  void describe(config::Visitor& visitor);
};

/// What stands under `samples`: pictures that show how a diffusion model's run stands.
struct SamplesSection {
  config::Cadence every;  ///< never: none are made
  std::vector<std::string> prompts;
  std::string negative;
  std::string sampler = "euler";
  std::string spacing = "auto";
  std::int64_t steps = 20;
  double guidance = 7.5;
  std::int64_t seed = 0;
  std::int64_t width = 512;
  std::int64_t height = 512;
  /// Whether pictures are asked for.
  [[nodiscard]] bool wanted() const { return every.unit != config::Cadence::Unit::kNever; }
  void describe(config::Visitor& visitor);
};

/// What stands under `text`: how a diffusion model reads captions.
struct TextSection {
  std::string tokenizer{};
  std::int64_t clip_skip = 0;
  std::int64_t max_tokens = 75;
  std::string embeddings{};
  void describe(config::Visitor& visitor);
};

}  // namespace dormer::train
