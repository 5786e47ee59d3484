#include "migration/onetrainer_images.hpp"

#include <algorithm>
#include <string>

#include <fmt/format.h>

namespace dormer::migration {
namespace {

Json concept_of(Translation& t, Translation& c, bool masked) {
  Json ours = Json::object();
  ours["path"] = c.text("path").value_or("");
  const std::string name = c.text("name").value_or("");
  if (!name.empty()) {
    ours["name"] = name;
  }
  const std::string source = c.text("text.prompt_source").value_or("sample");
  ours["captions"] = source == "sample"     ? "sidecar"
                     : source == "filename" ? "filename"
                                            : c.text("text.prompt_path").value_or("sidecar");
  c.ignore({"text.prompt_path"});
  ours["subfolders"] = c.truth("include_subdirectories");
  const double balancing = c.number("balancing").value_or(c.number("repeats").value_or(1.0));
  if (c.text("balancing_strategy").value_or("REPEATS") == "SAMPLES") {
    ours["samples"] = static_cast<std::int64_t>(std::clamp(balancing, 0.0, 1e9));
  } else {
    ours["repeats"] = balancing;
  }
  const double weight = c.number("loss_weight").value_or(1.0);
  if (weight != 1.0) {
    ours["loss_weight"] = weight;
  }
  const std::string type = c.text("type").value_or("STANDARD");
  if (type == "VALIDATION" || c.truth("validation_concept")) {
    ours["role"] = "validation";
  } else if (type == "PRIOR_PREDICTION") {
    ours["role"] = "prior";
  }
  if (c.truth("image.enable_crop_jitter", true)) {
    ours["random_crop"] = true;
  }
  if (c.truth("image.enable_random_flip", true)) {
    ours["flip_probability"] = 0.5;
  }
  if (c.truth("image.enable_fixed_flip")) {
    ours["flip_probability"] = 1.0;
  }
  if (masked) {
    ours["masks"] = {{"source", "sidecar"}, {"required", false}};
    ours["masks"]["unmasked_weight"] = t.number("unmasked_weight").value_or(0.1);
  }
  c.ignore({"__version", "seed", "text_variations", "text.tag_dropout_special_tags_regex", "text.caps_randomize_mode",
            "text.caps_randomize_probability", "text.caps_randomize_lowercase", "image.random_rotate_max_angle",
            "image.random_brightness_max_strength", "image.random_contrast_max_strength",
            "image.random_saturation_max_strength", "image.random_hue_max_strength", "image.resolution_override"});
  for (const char* effect :
       {"image.enable_random_rotate", "image.enable_fixed_rotate", "image.enable_random_brightness",
        "image.enable_fixed_brightness", "image.enable_random_contrast", "image.enable_fixed_contrast",
        "image.enable_random_saturation", "image.enable_fixed_saturation", "image.enable_random_hue",
        "image.enable_fixed_hue", "image.enable_resolution_override", "image.enable_random_circular_mask_shrink",
        "image.enable_random_mask_rotate_crop", "text.caps_randomize_enable"}) {
    c.lacks(effect, kNotHere);
  }
  return ours;
}

/// How captions are changed stands beside each concept there and once here.
void translate_captions(Translation& t, Translation& c) {
  const std::string delimiter = c.text("text.tag_delimiter").value_or(",");
  const bool shuffle = c.truth("text.enable_tag_shuffling");
  const double keep = c.number("text.keep_tags_count").value_or(1.0);
  const bool drop = c.truth("text.tag_dropout_enable");
  const std::string mode = c.text("text.tag_dropout_mode").value_or("FULL");
  const double rate = c.number("text.tag_dropout_probability").value_or(0.0);
  c.lacks("text.tag_dropout_special_tags_mode", "write data.captions.tag_dropout.protect");
  c.ignore({"text.tag_dropout_special_tags"});
  if (shuffle) {
    t.set("data.captions.shuffle", true);
  }
  if (drop && rate > 0) {
    t.set("data.captions.tag_dropout.rate", rate);
    t.set("data.captions.tag_dropout.mode", mode == "FULL" ? "all" : mode == "RANDOM" ? "each" : "rising");
  }
  if (shuffle || drop) {
    t.set("data.captions.keep_first", keep);
    if (delimiter != ",") {
      t.set("data.captions.separator", delimiter);
    }
  }
}

}  // namespace

void translate_onetrainer_images(Translation& t) {
  t.set("data.kind", "images");
  Json resolutions = Json::array();
  for (const std::string& one : comma_parts(t.text("resolution").value_or("512"))) {
    if (one.find('x') != std::string::npos) {
      t.tell("resolution: " + one + ": fixed sizes are not available; buckets are chosen by area");
    } else {
      resolutions.push_back(static_cast<std::int64_t>(std::clamp(number_of(one), 0.0, 1e6)));
    }
  }
  t.set("data.resolution", resolutions);
  if (!t.truth("aspect_ratio_bucketing", true)) {
    t.set("data.buckets.max_aspect", 1);
  }
  t.copy("cache_dir", "data.cache");
  Json list = t.take("concepts") == nullptr ? Json() : *t.take("concepts");
  const std::optional<std::string> named = t.text("concept_file_name");
  if (list.is_null() && named && !named->empty()) {
    const std::filesystem::path file = t.beside(*named);
    std::error_code ignored;
    if (std::filesystem::exists(file, ignored)) {
      list = read_foreign_file(file);
    } else {
      t.tell("concept_file_name: " + *named + ": there is no such file; write data.concepts");
    }
  }
  const bool masked = t.truth("masked_training");
  Json concepts = Json::array();
  for (const Json& one : list.is_array() ? list : Json::array()) {
    Translation c(one, t.file());
    if (!c.truth("enabled", true)) {
      continue;
    }
    concepts.push_back(concept_of(t, c, masked));
    if (concepts.size() == 1) {
      translate_captions(t, c);
    }
    if (const double variations = c.number("image_variations").value_or(1.0); variations > 1) {
      t.set("data.variations", variations);
    }
    c.ignore({"text"});
    for (const std::string& line : c.unmapped()) {
      t.tell(fmt::format("concepts[{}].{}", concepts.size() - 1, line));
    }
  }
  t.set("data.concepts", concepts);
  t.ignore({"unmasked_weight"});
  t.lacks("unmasked_probability", kNotHere);
  t.lacks("normalize_masked_area_loss", kNotHere);
  t.lacks("masked_prior_preservation_weight", kNotHere);
  t.lacks("custom_conditioning_image", kNotHere);
}

}  // namespace dormer::migration
