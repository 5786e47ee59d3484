#include "dormer/data/concepts.hpp"

#include <fmt/format.h>

namespace dormer::data {

void MaskConfig::describe(config::Visitor& visitor) {
  visitor.field("source", source,
                {.doc = "Where masks are. sidecar: NAME-masklabel.png beside NAME.jpg. Else a folder with NAME.png for "
                        "each NAME.jpg, in folders like those of the images. White counts, black does not."});
  visitor.field("required", required,
                {.doc = "Whether an image without a mask is a bad file. false: all of such an image counts."});
  visitor.field("unmasked_weight", unmasked_weight,
                {.doc = "Weight of the loss where the mask is black.", .min = 0, .max = 1});
}

void ConceptConfig::describe(config::Visitor& visitor) {
  visitor.field("path", path, {.doc = "Folder of the images.", .required = true});
  visitor.field("name", name, {.doc = "Name in messages and reports. Empty: the folder's."});
  visitor.field("captions", captions,
                {.doc = "sidecar: NAME.txt or NAME.caption beside NAME.jpg, a caption a line, of which one is drawn "
                        "each time. filename: the name. folder: the folder's name, without 10_. none: empty captions. "
                        "Else a file with a caption a line, for all images."});
  visitor.field("subfolders", subfolders, {.doc = "Images in folders below count, too."});
  visitor.field(
      "repeats", repeats,
      {.doc = "How often an epoch draws each image; may be broken. null: as a folder's name says (10_teapot), "
              "else 1.",
       .min = 0.001,
       .max = 100'000});
  visitor.field(
      "samples", samples,
      {.doc = "How many images an epoch draws from the concept, whatever it holds, in place of repeats.", .min = 1});
  visitor.field("loss_weight", loss_weight, {.doc = "Factor of the loss of its images.", .min = 0});
  visitor.field("role", role,
                {.doc = "train: learned from. validation: held-out loss. prior: what the model shall not forget: "
                        "trained beside the others, towards what the frozen model predicts.",
                 .choices = {"train", "validation", "prior"}});
  visitor.field("random_crop", random_crop, {.doc = "Cut at a place that the seed decides. false: in the middle."});
  visitor.field("flip_probability", flip_probability,
                {.doc = "How often an image is mirrored, left and right.", .min = 0, .max = 1});
  visitor.group("masks", masks, "Which parts of the images count.");
}

std::string ConceptConfig::shown_name() const {
  if (!name.empty()) {
    return name;
  }
  const std::filesystem::path normal = path.lexically_normal();
  const std::string last = (normal.has_filename() ? normal : normal.parent_path()).filename().string();
  return last.empty() || last == "." || last == ".." ? path.string() : last;
}

std::vector<std::string> check_concepts(const std::vector<ConceptConfig>& concepts, const std::string& group) {
  std::vector<std::string> mistakes;
  bool trained = false;
  for (std::size_t i = 0; i < concepts.size(); ++i) {
    if (concepts[i].repeats && concepts[i].samples) {
      mistakes.push_back(fmt::format("{}.{}.samples: a concept has repeats or samples; take one away", group, i));
    }
    trained = trained || concepts[i].role == "train";
  }
  if (!trained) {
    mistakes.push_back(group + ": no concept has the role train; there is nothing to learn");
  }
  return mistakes;
}

}  // namespace dormer::data
