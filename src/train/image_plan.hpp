#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "dormer/core/dtype.hpp"
#include "dormer/data/bucket_plan.hpp"
#include "dormer/data/concept_scan.hpp"
#include "dormer/data/crop_plan.hpp"
#include "dormer/train/run_config.hpp"

namespace dormer::train {

/// One drawing of one image: everything that an update must know of it.
struct ImageSample {
  std::int64_t image = 0;  ///< in the plan's list
  data::CropPlan crop;
  std::string caption;
  RandomKey key;  ///< of what is random about it: noise, timestep, posterior
  double loss_weight = 1.0;
  bool prior = false;  ///< of a concept that shall not be forgotten
};

/// Which images a run draws, how they are cut and which text each gets. Pure decisions over what a scan has found.
class ImagePlan {
 public:
  /// `latent_pixels` are the pixels along a side of what the denoiser's coarsest level has one position for. Usage
  /// errors where nothing is left to train on, or a resolution does not suit the model.
  ImagePlan(const RunConfig& config, data::ConceptScan scan, std::int64_t latent_pixels);

  [[nodiscard]] const std::vector<data::ConceptImage>& images() const { return scan_.images; }
  [[nodiscard]] const data::BucketPlan& updates() const { return *updates_; }
  [[nodiscard]] const data::ConceptConfig& concept_of(std::int64_t image) const;
  /// Drawings of an epoch, on average.
  [[nodiscard]] std::int64_t epoch_samples() const;
  /// The sample at a position of the run's sequence.
  [[nodiscard]] ImageSample at(std::int64_t position) const;
  [[nodiscard]] std::int64_t validation_samples() const { return std::ssize(validation_); }
  /// The held-out sample of this number, the same each time; its timestep and noise hang on the number alone.
  [[nodiscard]] ImageSample validation_at(std::int64_t index) const;
  /// Names of the concepts that held-out samples are of, once each, in their order.
  [[nodiscard]] std::vector<std::string> validation_concepts() const;
  /// Every cut that is ever drawn: (image, cut) once each.
  struct Cut {
    std::int64_t image = 0;
    data::CropPlan crop;
  };
  [[nodiscard]] std::vector<Cut> all_cuts() const;
  [[nodiscard]] std::vector<Cut> held_out_cuts() const;
  /// Every text that is ever drawn and whose states stay what they are. None where text encoders train; of the training
  /// images none where they are too many to be listed: rules that shuffle or drop tags.
  [[nodiscard]] std::vector<std::string> all_captions() const;
  /// The held-out samples' texts; none where text encoders train.
  [[nodiscard]] std::vector<std::string> held_out_captions() const;
  /// Every text that is ever drawn. Usage error where they are too many to be listed.
  [[nodiscard]] std::vector<std::string> drawn_captions() const;
  /// Whether texts are encoded as they come, for either reason.
  [[nodiscard]] bool encodes_texts() const;
  /// Checksums over files, captions and sizes: what a resumed run compares.
  [[nodiscard]] std::string training_fingerprint() const;
  [[nodiscard]] std::string validation_fingerprint() const;
  /// A line for a person.
  [[nodiscard]] std::string summary() const;

 private:
  [[nodiscard]] data::CropPlan crop_of(std::int64_t image, std::int64_t variation) const;
  [[nodiscard]] bool changes_tags() const;
  [[nodiscard]] std::set<std::string> listed_captions() const;
  [[nodiscard]] std::int64_t variations_of(std::int64_t image) const;
  [[nodiscard]] std::string fingerprint_of(const std::vector<std::int64_t>& images) const;

  ImageSection section_;
  bool trains_text_;
  RandomKey seed_;
  std::int64_t global_;
  data::ConceptScan scan_;
  std::vector<data::Bucket> buckets_;
  std::vector<std::int64_t> training_;  ///< images
  std::vector<std::int64_t> validation_;
  std::optional<data::BucketPlan> updates_;
};

}  // namespace dormer::train
