#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "dormer/config/visitor.hpp"

namespace dormer::config {

/// A configuration with a field of every type.
struct Inner {
  std::string axis = "auto";
  void describe(Visitor& visitor) { visitor.field("axis", axis, {.doc = "Axis.", .choices = {"auto", "output"}}); }
};

struct Item {
  std::string consumer;
  std::string dtype = "float32";
  void describe(Visitor& visitor) {
    visitor.field("for", consumer, {.doc = "Who reads it.", .required = true});
    visitor.field("dtype", dtype, {.doc = "Type of the numbers."});
  }
};

struct Training {
  std::int64_t steps = 0;
  double learning_rate = 1e-4;
  std::optional<double> clip = 1.0;
  std::optional<std::int64_t> patience;
  std::optional<std::string> note;
  std::vector<double> betas{0.9, 0.999};
  void describe(Visitor& visitor) {
    visitor.field("steps", steps, {.doc = "Updates.", .min = 1, .required = true});
    visitor.field("learning_rate", learning_rate, {.doc = "Rate.", .min = 0, .max = 10, .exclusive_min = true});
    visitor.field("clip", clip, {.doc = "Clipping.", .min = 0});
    visitor.field("patience", patience, {.doc = "Patience."});
    visitor.field("note", note, {.doc = "Free | text."});
    visitor.field("betas", betas, {.doc = "Decay.", .min = 0, .max = 1});
  }
};

struct SampleConfig {
  Training training;
  std::optional<Inner> decompose;
  std::vector<Item> exports;
  bool shuffle = true;
  std::string name = "run";
  std::filesystem::path folder;
  std::vector<std::string> targets{"all-linear"};
  Cadence every = Cadence::seconds(900);
  StepsOrShare warmup;
  Expression alpha;
  Duration limit{.seconds = std::nullopt, .automatic = true};
  void describe(Visitor& visitor) {
    visitor.group("training", training, "How it learns.");
    visitor.optional_group("decompose", decompose, "Decomposition.");
    visitor.list("export", exports, "Files for others.");
    visitor.field("shuffle", shuffle, {.doc = "Order."});
    visitor.field("name", name, {.doc = "Name."});
    visitor.field("folder", folder, {.doc = "Folder."});
    visitor.field("targets", targets, {.doc = "Targets."});
    visitor.field("every", every, {.doc = "How often."});
    visitor.field("warmup", warmup, {.doc = "Warm-up."});
    visitor.field("alpha", alpha, {.doc = "Scale."});
    visitor.field("limit", limit, {.doc = "Time."});
  }
};

}  // namespace dormer::config
