#include "migration/kohya_images.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace dormer::migration {
namespace {

constexpr double kWidest = 1e6;  // of what can be a side at all

/// Options of a data set's section: its own, else those of the sections around it, else the run's.
class Options {
 public:
  explicit Options(std::vector<const Json*> sections) : sections_(std::move(sections)) {}
  [[nodiscard]] Json get(const char* name, Json otherwise = nullptr) const {
    for (const Json* section : sections_) {
      if (section->is_object() && section->contains(name)) {
        return section->at(name);
      }
    }
    return otherwise;
  }

 private:
  std::vector<const Json*> sections_;
};

Json concept_of(Translation& t, const Options& options, const std::string& folder) {
  Json ours{{"path", folder}};
  const std::string extension = options.get("caption_extension", ".txt");
  const Json words = options.get("class_tokens");
  ours["captions"] = "sidecar";
  if (extension != ".txt" && extension != ".caption") {
    t.tell("caption_extension: " + extension + ": captions are NAME.txt or NAME.caption");
  }
  if (!words.is_null() && words != "") {
    t.tell("class_tokens: " + words.get<std::string>() + ": name the folder 10_" + words.get<std::string>() +
           " and write captions: folder");
  }
  ours["subfolders"] = false;
  ours["repeats"] = options.get("num_repeats", 1);
  if (options.get("is_reg", false) == true) {  // kohya learns from them as from the others, by another weight
    ours["loss_weight"] = options.get("prior_loss_weight", 1.0);
  }
  if (options.get("random_crop", false) == true) {
    ours["random_crop"] = true;
  }
  if (options.get("flip_aug", false) == true) {
    ours["flip_probability"] = 0.5;
  }
  if (const Json masks = options.get("conditioning_data_dir"); masks.is_string()) {
    ours["masks"] = {{"source", masks}, {"unmasked_weight", 0.0}};
  }
  for (const char* effect : {"color_aug", "face_crop_aug_range", "metadata_file", "token_warmup_step",
                             "enable_wildcard", "secondary_separator"}) {
    if (const Json value = options.get(effect); !value.is_null() && value != false && value != "" && value != 0) {
      t.tell(fmt::format("{}: {}: {}", effect, value.dump(), kNotHere));
    }
  }
  return ours;
}

void translate_captions(Translation& t, const Options& options) {
  const auto set = [&](const char* theirs, const char* ours) {
    const Json value = options.get(theirs);
    if (!value.is_null() && value != false && value != "" && value != 0 && value != 0.0) {
      t.set(ours, value);
    }
  };
  set("shuffle_caption", "data.captions.shuffle");
  set("keep_tokens", "data.captions.keep_first");
  set("keep_tokens_separator", "data.captions.keep_separator");
  set("caption_dropout_rate", "data.captions.dropout");
  set("caption_tag_dropout_rate", "data.captions.tag_dropout.rate");
  set("caption_prefix", "data.captions.prefix");
  set("caption_suffix", "data.captions.suffix");
  if (const Json separator = options.get("caption_separator"); separator.is_string() && separator != ",") {
    t.set("data.captions.separator", separator);
  }
  if (const Json every = options.get("caption_dropout_every_n_epochs"); every.is_number() && every != 0) {
    t.tell(fmt::format("caption_dropout_every_n_epochs: {}: {}", every.dump(), kNotHere));
  }
}

/// What counts for all concepts here.
void translate_shared(Translation& t, const Options& options) {
  translate_captions(t, options);
  if (options.get("enable_bucket", false) == false) {
    t.set("data.buckets.max_aspect", 1);
  }
  if (const Json step = options.get("bucket_reso_steps"); step.is_number()) {
    t.set("data.buckets.step", step);
  }
}

/// A side, "512", "512,768" or [512, 768], as the side of a square of the same area.
double side_of(const Json& resolution) {
  std::vector<double> sides;
  if (resolution.is_array()) {
    for (const Json& side : resolution) {
      sides.push_back(side.get<double>());
    }
  } else if (resolution.is_string()) {
    const std::string text = resolution;
    const std::size_t comma = text.find(',');
    sides.push_back(number_of(text.substr(0, comma)));
    if (comma != std::string::npos) {
      sides.push_back(number_of(text.substr(comma + 1)));
    }
  } else if (resolution.is_number()) {
    sides.push_back(resolution.get<double>());
  }
  return sides.empty() ? 512.0 : sides.size() == 1 ? sides[0] : std::round(std::sqrt(sides[0] * sides[1]));
}

void translate_sections(Translation& t, const Json& file, const Json& run, Json& concepts, Json& resolutions,
                        double& batch) {
  const Json none = Json::object();
  const Json& general = file.contains("general") ? file.at("general") : none;
  bool first = true;
  for (const Json& dataset : file.value("datasets", Json::array())) {
    for (const Json& subset : dataset.value("subsets", Json::array())) {
      const Options options({&subset, &dataset, &general, &run});
      concepts.push_back(concept_of(t, options, options.get("image_dir", "")));
      const double side = side_of(options.get("resolution"));
      if (std::ranges::find(resolutions, Json(side)) == resolutions.end()) {
        resolutions.push_back(side);
      }
      batch = Options({&dataset, &general, &run}).get("batch_size", batch).get<double>();
      if (std::exchange(first, false)) {
        translate_shared(t, options);
      }
    }
  }
}

}  // namespace

void translate_kohya_images(Translation& t) {
  t.set("data.kind", "images");
  Json run = Json::object();
  for (const char* name : {"resolution",
                           "caption_extension",
                           "shuffle_caption",
                           "keep_tokens",
                           "keep_tokens_separator",
                           "caption_separator",
                           "caption_dropout_rate",
                           "caption_dropout_every_n_epochs",
                           "caption_tag_dropout_rate",
                           "caption_prefix",
                           "caption_suffix",
                           "color_aug",
                           "flip_aug",
                           "random_crop",
                           "face_crop_aug_range",
                           "enable_bucket",
                           "bucket_reso_steps",
                           "prior_loss_weight",
                           "token_warmup_step",
                           "enable_wildcard",
                           "secondary_separator"}) {
    if (const Json* value = t.take(name)) {
      run[name] = *value;
    }
  }
  Json concepts = Json::array();
  Json resolutions = Json::array();
  double batch = t.number("train_batch_size").value_or(1.0);
  if (const std::optional<std::string> named = t.text("dataset_config"); named && !named->empty()) {
    translate_sections(t, read_foreign_file(t.beside(*named)), run, concepts, resolutions, batch);
  } else {
    const Options options({&run});
    for (const char* folder : {"train_data_dir", "reg_data_dir"}) {
      if (const std::optional<std::string> path = t.text(folder); path && !path->empty()) {
        Json ours = concept_of(t, options, *path);
        ours["subfolders"] = true;
        ours.erase("repeats");  // the folders' names say them: 10_teapot
        if (std::string(folder) == "reg_data_dir") {
          ours["loss_weight"] = options.get("prior_loss_weight", 1.0);
        }
        concepts.push_back(ours);
      }
    }
    resolutions.push_back(side_of(options.get("resolution")));
    translate_shared(t, options);
  }
  t.ignore({"train_data_dir", "reg_data_dir"});
  for (Json& side : resolutions) {
    if (const double length = side.get<double>(); length >= 0.0 && length < kWidest) {
      side = static_cast<std::int64_t>(length);
    }
  }
  t.set("data.resolution", resolutions);
  t.set("data.concepts", concepts);
  const double accumulation = t.number("gradient_accumulation_steps").value_or(1.0);
  t.set("batch.global", batch * accumulation, "of one GPU; multiply it with the number of GPUs that you had");
  t.set("batch.micro", batch);
  t.lacks("in_json", kNotHere);
  t.lacks("dataset_class", kNotHere);
  t.lacks("bucket_no_upscale", "images are not enlarged beyond the smallest resolution here");
  t.lacks("weighted_captions", kNotHere);
  t.ignore({"min_bucket_reso", "max_bucket_reso", "cache_latents", "cache_latents_to_disk", "vae_batch_size",
            "cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk", "max_data_loader_n_workers",
            "persistent_data_loader_workers", "debug_dataset", "skip_cache_check"});
}

}  // namespace dormer::migration
