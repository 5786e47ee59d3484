#include "train/image_plan.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/ranges.h>

#include "dormer/core/error.hpp"
#include "dormer/core/sha256.hpp"

namespace dormer::train {
namespace {

std::vector<std::int64_t> resolutions_of(const ImageSection& section) {
  std::vector<std::int64_t> resolutions;
  for (const double resolution : section.resolution) {
    resolutions.push_back(static_cast<std::int64_t>(resolution));
  }
  return resolutions;
}

}  // namespace

ImagePlan::ImagePlan(const RunConfig& config, data::ConceptScan scan, std::int64_t latent_pixels)
    : section_(config.data.images),
      trains_text_(config.model.trains_text()),
      seed_{static_cast<std::uint64_t>(config.run.seed)},
      global_(config.batch.global),
      scan_(std::move(scan)),
      buckets_(data::plan_buckets(resolutions_of(section_),
                                  {.step = section_.buckets.step, .max_aspect = section_.buckets.max_aspect})) {
  require(section_.buckets.step % latent_pixels == 0, Fault::kUsage,
          "data.buckets.step: {} pixels are no multiple of the {} of one latent", section_.buckets.step, latent_pixels);
  for (std::size_t image = 0; image < scan_.images.size(); ++image) {
    const bool held_out = concept_of(static_cast<std::int64_t>(image)).role == "validation";
    (held_out ? validation_ : training_).push_back(static_cast<std::int64_t>(image));
  }
  std::vector<data::ConceptImage> chosen;
  for (const std::int64_t image : training_) {
    chosen.push_back(scan_.images[static_cast<std::size_t>(image)]);
  }
  const data::SmallBuckets small =
      section_.buckets.small == "drop" ? data::SmallBuckets::kDrop : data::SmallBuckets::kCarry;
  updates_.emplace(data::bucket_items(chosen, buckets_), seed_,
                   data::BucketPlanRules{.global = global_, .shuffle = config.data.shuffle, .small_buckets = small});
}

const data::ConceptConfig& ImagePlan::concept_of(std::int64_t image) const {
  return section_.concepts.at(scan_.images.at(static_cast<std::size_t>(image)).file.concept_index);
}

std::int64_t ImagePlan::variations_of(std::int64_t image) const {
  const data::ConceptConfig& rules = concept_of(image);
  return rules.random_crop || rules.flip_probability > 0.0 ? section_.variations : 1;
}

// The key does not hang on the run's seed: trials with other seeds share what is encoded.
data::CropPlan ImagePlan::crop_of(std::int64_t image, std::int64_t variation) const {
  const data::ConceptImage& found = scan_.images[static_cast<std::size_t>(image)];
  const data::ConceptConfig& rules = concept_of(image);
  const data::Bucket& bucket = buckets_[data::choose_bucket(found.entry.size, buckets_)];
  return data::plan_crop(found.entry.size, bucket.size,
                         {.jitter = rules.random_crop, .flip_probability = rules.flip_probability},
                         RandomKey{0}.child(found.entry.content).child(static_cast<std::uint64_t>(variation)));
}

std::int64_t ImagePlan::epoch_samples() const {
  return std::max<std::int64_t>(
      1, static_cast<std::int64_t>(std::llround(updates_->updates_per_epoch() * static_cast<double>(global_))));
}

ImageSample ImagePlan::at(std::int64_t position) const {
  const data::BucketUpdate update = updates_->update_at(position / global_);
  const data::Draw& draw = update.draws.at(static_cast<std::size_t>(position % global_));
  const std::int64_t image = training_.at(static_cast<std::size_t>(draw.item));
  const RandomKey key = draw.key(seed_);
  const std::int64_t variations = variations_of(image);
  const auto variation =
      static_cast<std::int64_t>(philox(key.child("variation"), 0)[0] % static_cast<std::uint64_t>(variations));
  return {.image = image,
          .crop = crop_of(image, variation),
          .caption = data::caption_for(section_.captions, scan_.images[static_cast<std::size_t>(image)].entry.captions,
                                       key.child("caption")),
          .key = key,
          .loss_weight = concept_of(image).loss_weight,
          .prior = concept_of(image).role == "prior"};
}

ImageSample ImagePlan::validation_at(std::int64_t index) const {
  const std::int64_t image = validation_.at(static_cast<std::size_t>(index));
  data::CaptionRules first = section_.captions;  // a held-out loss is of whole captions
  first.choose = "first";
  first.shuffle = false;
  first.dropout = first.tag_dropout.rate = 0.0;
  const RandomKey key = RandomKey{1}.child("validation").child(static_cast<std::uint64_t>(index));
  return {.image = image,
          .crop = crop_of(image, 0),
          .caption = data::caption_for(first, scan_.images[static_cast<std::size_t>(image)].entry.captions, key),
          .key = key,
          .loss_weight = 1.0};
}

std::vector<std::string> ImagePlan::validation_concepts() const {
  std::vector<std::string> names;
  for (const std::int64_t image : validation_) {
    std::string name = concept_of(image).shown_name();
    if (std::ranges::find(names, name) == names.end()) {
      names.push_back(std::move(name));
    }
  }
  return names;
}

std::vector<ImagePlan::Cut> ImagePlan::all_cuts() const {
  std::vector<Cut> cuts;
  for (std::int64_t image = 0; image < std::ssize(scan_.images); ++image) {
    const bool held_out = concept_of(image).role == "validation";
    for (std::int64_t variation = 0; variation < (held_out ? 1 : variations_of(image)); ++variation) {
      cuts.push_back({image, crop_of(image, variation)});
    }
  }
  return cuts;
}

std::vector<ImagePlan::Cut> ImagePlan::held_out_cuts() const {
  std::vector<Cut> cuts;
  for (const std::int64_t image : validation_) {
    cuts.push_back({image, crop_of(image, 0)});
  }
  return cuts;
}

bool ImagePlan::encodes_texts() const {
  return trains_text_ || changes_tags();
}

bool ImagePlan::changes_tags() const {
  return section_.captions.shuffle || section_.captions.tag_dropout.rate > 0.0;
}

/// Those that are few enough.
std::set<std::string> ImagePlan::listed_captions() const {
  std::set<std::string> texts;
  for (std::int64_t index = 0; index < validation_samples(); ++index) {
    texts.insert(validation_at(index).caption);
  }
  if (section_.captions.dropout > 0.0) {
    texts.insert("");
  }
  if (!changes_tags()) {
    data::CaptionRules whole = section_.captions;
    whole.dropout = 0.0;
    for (const std::int64_t image : training_) {
      for (const std::string& caption : scan_.images[static_cast<std::size_t>(image)].entry.captions) {
        texts.insert(data::caption_for(whole, {&caption, 1}, RandomKey{}));
      }
    }
  }
  return texts;
}

std::vector<std::string> ImagePlan::all_captions() const {
  if (trains_text_) {
    return {};
  }
  const std::set<std::string> texts = listed_captions();
  return {texts.begin(), texts.end()};
}

std::vector<std::string> ImagePlan::held_out_captions() const {
  std::vector<std::string> texts;
  for (std::int64_t index = 0; !trains_text_ && index < validation_samples(); ++index) {
    texts.push_back(validation_at(index).caption);
  }
  return texts;
}

std::vector<std::string> ImagePlan::drawn_captions() const {
  require(
      !changes_tags(), Fault::kUsage,
      "data.captions: shuffled and dropped tags make more texts than can be listed, and text.embeddings holds whole "
      "ones; take shuffle and tag_dropout away, or text.embeddings");
  const std::set<std::string> texts = listed_captions();
  return {texts.begin(), texts.end()};
}

std::string ImagePlan::fingerprint_of(const std::vector<std::int64_t>& images) const {
  std::string text;
  for (const std::int64_t image : images) {
    const data::ConceptImage& found = scan_.images[static_cast<std::size_t>(image)];
    text += fmt::format("{} {}x{} {} {} {}\n", found.entry.content, found.entry.size.width, found.entry.size.height,
                        found.file.repeats, found.entry.mask_content, fmt::join(found.entry.captions, "\x1f"));
  }
  return sha256_hex(text);
}

std::string ImagePlan::training_fingerprint() const {
  return fingerprint_of(training_);
}
std::string ImagePlan::validation_fingerprint() const {
  return validation_.empty() ? "none" : fingerprint_of(validation_);
}

std::string ImagePlan::summary() const {
  std::vector<std::string> shares;
  for (const data::BucketShare& share : updates_->shares()) {
    const data::ImageSize size = buckets_.at(static_cast<std::size_t>(share.bucket)).size;
    shares.push_back(
        fmt::format("{} of {}x{}{}", share.items, size.width, size.height, share.dropped ? " (left out)" : ""));
  }
  return fmt::format("{} images ({}), {:.6g} updates of {} an epoch", training_.size(), fmt::join(shares, ", "),
                     updates_->updates_per_epoch(), global_);
}

}  // namespace dormer::train
