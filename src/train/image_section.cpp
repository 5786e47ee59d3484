#include "dormer/train/image_section.hpp"

#include "dormer/inference/image_generation.hpp"
#include "dormer/inference/image_sampler.hpp"

namespace dormer::train {

void BucketSection::describe(config::Visitor& visitor) {
  visitor.field("step", step, {.doc = "Sides are multiples of so many pixels.", .min = 8, .max = 1024});
  visitor.field("max_aspect", max_aspect,
                {.doc = "Longer side over the shorter one, at most. 1: squares alone.", .min = 1});
  visitor.field("small", small,
                {.doc = "What happens to a size with fewer images than an update has. carry: they fill one update in "
                        "several epochs. drop: they are left out.",
                 .choices = {"carry", "drop"}});
}

void ImageSection::describe(config::Visitor& visitor) {
  visitor.field(
      "resolution", resolution,
      {.doc = "kind: images. Sides of the squares whose areas images are brought to, in pixels; each image goes "
              "to the largest that it fills."});
  visitor.group("buckets", buckets, "kind: images. Sizes of images in a batch.");
  visitor.field(
      "cache", cache,
      {.doc = "kind: images. Folder of what frozen parts compute once, shared by runs on any number of machines."});
  visitor.field("variations", variations,
                {.doc = "kind: images. Random cuts that an image of a concept with random_crop or flips has; each is "
                        "encoded once.",
                 .min = 1,
                 .max = 10'000});
  visitor.field(
      "bad_files", bad_files,
      {.doc = "kind: images. What happens to files that cannot be read: they are named, and left out or refused.",
       .choices = {"skip", "refuse"}});
  visitor.group("captions", captions, "kind: images. From an image's captions to the text of one update.");
  visitor.list("concepts", concepts, "kind: images. Folders of images, one map each.");
}

void SamplesSection::describe(config::Visitor& visitor) {
  visitor.field(
      "every", every,
      {.doc = "How often pictures are made, besides before the first and after the last update: 100 (updates), "
              "1 epoch, 15 min; null: never. They lie in the run's folder and stand in its report."});
  visitor.field(
      "prompts", prompts,
      {.doc = "A picture each; in kohya's form a prompt may have its own --n NEGATIVE, --w WIDTH, --h HEIGHT, "
              "--d SEED, --l GUIDANCE and --s STEPS."});
  visitor.field("negative", negative, {.doc = "Text that pictures are led away from."});
  visitor.field("sampler", sampler,
                {.doc = "How noise becomes a picture.", .choices = inference::image_samplers().names()});
  visitor.field("spacing", spacing,
                {.doc = "Which timesteps of the noise schedule the sampler takes; auto: as the model's "
                        "scheduler_config.json says, or leading.",
                 .choices = inference::spacing_choices()});
  visitor.field("steps", steps, {.doc = "Steps of the sampler.", .min = 1, .max = 1000});
  visitor.field("guidance", guidance,
                {.doc = "Scale of classifier-free guidance; 1: the prompt alone.", .min = 0, .max = 100});
  visitor.field("seed", seed, {.doc = "Decides the noise that pictures begin with, the same every time.", .min = 0});
  visitor.field("width", width, {.doc = "Pixels, a multiple of 8.", .min = 8, .max = 1 << 14});
  visitor.field("height", height, {.doc = "Pixels, a multiple of 8.", .min = 8, .max = 1 << 14});
}

void TextSection::describe(config::Visitor& visitor) {
  visitor.field(
      "tokenizer", tokenizer,
      {.doc = "Folder with CLIP's vocabulary (vocab.json and merges.txt), where model.path is a checkpoint in "
              "one file, which holds none."});
  visitor.field("clip_skip", clip_skip,
                {.doc = "Last layers of the text encoders that are left out.", .min = 0, .max = 64});
  visitor.field(
      "max_tokens", max_tokens,
      {.doc = "Tokens of a caption that count, in pieces of 75: what is longer is cut.", .min = 75, .max = 750});
  visitor.field("embeddings", embeddings,
                {.doc = "File with the states of every text by T5, which launch/import_embeddings.py makes, for Stable "
                        "Diffusion 3; without it rows of zeros stand in their place."});
}

}  // namespace dormer::train
