#include "dormer/train/run_config.hpp"

#include <algorithm>
#include <memory>

#include "dormer/config/read.hpp"
#include "dormer/config/write.hpp"
#include "dormer/core/error.hpp"
#include "dormer/interop/consumer.hpp"
#include "train/foreign_names.hpp"

namespace dormer::train {

void WatchdogSection::describe(config::Visitor& visitor) {
  visitor.field(
      "start", start,
      {.doc = "For each part of the start: joining the ranks, loading the model and the data. null: no end."});
  visitor.field("step", step,
                {.doc = "For an update, and for each batch of a validation. auto: ten times the usual update, at least "
                        "10 minutes. null: no end."});
  visitor.field("io", io,
                {.doc = "For a checkpoint or an export: shared file systems may stall for half an hour. null: no "
                        "end."});
}

void RunSection::describe(config::Visitor& visitor) {
  visitor.field(
      "directory", directory,
      {.doc = "Folder of the run: checkpoints, metrics, exports. Made when it is missing.", .required = true});
  visitor.field("name", name,
                {.doc = "Name of the run, and of exports that have none. Empty: the directory's last part."});
  visitor.field("seed", seed, {.doc = "Decides every random number of the run.", .min = 0});
  visitor.field("steps", steps, {.doc = "Updates of the global batch. Exactly one of steps and epochs.", .min = 1});
  visitor.field(
      "epochs", epochs,
      {.doc = "Passes over the training data. Exactly one of steps and epochs.", .min = 0, .exclusive_min = true});
  visitor.field("resume", resume,
                {.doc = "Whether a run directory with checkpoints is continued.", .choices = {"auto", "never"}});
  visitor.field(
      "device", device,
      {.doc = "Where to compute. auto: on a GPU where there is one; never on a CPU where there should be one.",
       .choices = {"auto", "cpu", "cuda"}});
  visitor.field("threads", threads, {.doc = "Threads of every rank. The bits depend on it.", .min = 1, .max = 1024});
  visitor.field("time_limit", time_limit,
                {.doc = "Time after which the run saves and ends with exit code 85. auto: what the scheduler tells."});
  visitor.field("exact", exact, {.doc = "Refuse machines on which a continued run would not have the same bits."});
  visitor.field("deterministic", deterministic,
                {.doc = "On GPUs: the same bits every time, by deterministic kernels and, where parallel.reduction is "
                        "auto, the exact reduction. On CPUs every run is deterministic."});
  visitor.field("linear", linear, {.doc = "How frozen layers are multiplied.", .choices = {"auto", "plain", "onednn"}});
  visitor.field(
      "recompute", recompute,
      {.doc = "Keep only the input of every block (of a diffusion model's denoiser, not of its text encoders) and "
              "compute the block again in the backward pass: less memory, about a third more time, the same "
              "bits."});
  visitor.group("watchdog", watchdog,
                "Time without progress after which a rank says who keeps it waiting and ends the job with exit code "
                "86.");
}

bool ModelSection::trains_text() const {
  return std::ranges::any_of(train, [](const std::string& part) { return part.starts_with("text_encoder"); });
}

void ModelSection::describe(config::Visitor& visitor) {
  visitor.field(
      "path", path,
      {.doc = "Folder of the frozen model in Hugging Face form, or org/name in the offline cache; of a diffusion model "
              "also a checkpoint in one .safetensors (then text.tokenizer is needed).",
       .required = true});
  visitor.field("dtype", dtype,
                {.doc = "Numbers of the frozen model and of activations. auto: bfloat16 on GPUs and where the "
                        "processor computes it.",
                 .choices = {"auto", "float32", "bfloat16", "float16"}});
  visitor.field("stage", stage,
                {.doc = "Folder of each machine that gets a copy of the model, which one rank makes and all load; it "
                        "stays for the next run. auto: the job's scratch (SLURM_TMPDIR, TMPDIR) where the model lies "
                        "on a network file system. none: no copy. Without one, a model there is read into "
                        "each rank's memory; of any other disk ranks share the pages."});
  visitor.field("added_tokens", added_tokens,
                {.doc = "Tokens of the folder's tokenizer beyond the model's vocabulary. train: they get rows in "
                        "embedding and head, which start at the mean of the others and train with the adapter.",
                 .choices = {"none", "train"}});
  visitor.field(
      "train", train,
      {.doc = "Parts of a diffusion model that get adapters, by their folders' names: unet, or transformer for Stable "
              "Diffusion 3, text_encoder, text_encoder_2. adapter.overrides gives a part a learning rate and an end "
              "of its own (match: text_encoder.*). Texts whose encoders train are encoded anew every time."});
  visitor.field("vae_dtype", vae_dtype,
                {.doc = "Numbers of a diffusion model's autoencoder, which overflows in small ones.",
                 .choices = {"float32", "bfloat16"}});
}

void DataSection::describe(config::Visitor& visitor) {
  visitor.field("kind", kind,
                {.doc = "Form of the data. tokens: for language models. images: pictures with captions, for diffusion "
                        "models.",
                 .choices = {"tokens", "images"}});
  visitor.field("train", train, {.doc = "kind: tokens. Token data set to train on (HDF5, launch/prepare_text.py)."});
  visitor.field("validation", validation, {.doc = "Token data set for held-out loss. null: none."});
  visitor.field("sequence_length", sequence_length, {.doc = "Tokens of a sample.", .min = 1, .max = 1 << 24});
  visitor.field("packing", packing,
                {.doc = "How documents become samples. blocks: one stream cut into pieces. documents: several whole "
                        "documents in a row, attention and positions kept apart. auto: documents where the data has a "
                        "loss mask.",
                 .choices = {"auto", "blocks", "documents"}});
  visitor.field("too_long", too_long,
                {.doc = "What happens, under packing: documents, to a document longer than sequence_length.",
                 .choices = {"truncate", "drop", "error"}});
  visitor.field("shuffle", shuffle, {.doc = "Visit the samples in an order that the seed decides."});
  images.describe(visitor);
}

void BatchSection::describe(config::Visitor& visitor) {
  visitor.field("global", global, {.doc = "Samples of an update, over all ranks.", .min = 1, .max = 1 << 24});
  visitor.field("micro", micro,
                {.doc = "Samples of one forward pass; divides batch.global. Accumulation follows from the ranks.",
                 .min = 1,
                 .max = 1 << 24});
}

void ObjectiveSection::describe(config::Visitor& visitor) {
  visitor.field("kind", kind,
                {.doc = "What is learned. next_token: of language models. denoise: of diffusion models; the other keys "
                        "here are its own.",
                 .choices = {"next_token", "denoise"}});
  denoise.describe(visitor);
}

void ParallelSection::describe(config::Visitor& visitor) {
  visitor.field(
      "reduction", reduction,
      {.doc =
           "How gradients of ranks are added. exact: the same bits for every number of ranks. fast: in buckets during "
           "the last backward pass, equal up to rounding. auto: exact on CPUs and where run.deterministic is true, "
           "else "
           "fast.",
       .choices = {"auto", "exact", "fast"}});
  visitor.field("shard_optimizer", shard_optimizer,
                {.doc = "Every rank holds a share of the optimizer's state (ZeRO-1)."});
}

void ValidationSection::describe(config::Visitor& visitor) {
  visitor.field("every", every,
                {.doc = "How often the held-out loss is measured: 20 (updates), 1 epoch, 15 min; null: never."});
  visitor.field("samples", samples, {.doc = "Samples of a measurement, the first of the data set.", .min = 1});
  visitor.field("keep_best", keep_best,
                {.doc = "Keep the checkpoints with the best held-out loss and export the best one."});
  visitor.field("patience", patience,
                {.doc = "End the run after so many measurements without a better one. null: never.", .min = 1});
}

void KeepSection::describe(config::Visitor& visitor) {
  visitor.field("last", last, {.doc = "Newest checkpoints to keep.", .min = 1});
  visitor.field("best", best, {.doc = "Checkpoints with the best held-out loss to keep besides.", .min = 0});
}

void CheckpointSection::describe(config::Visitor& visitor) {
  visitor.field("every", every,
                {.doc = "How often the run is saved: 20 (updates), 1 epoch, 15 min; null: at the end only."});
  visitor.field("background", background,
                {.doc = "Train on while the files are written; the checkpoint exists from the next update on."});
  visitor.group("keep", keep, "Which checkpoints stay.");
}

void ExportSection::describe(config::Visitor& visitor) {
  visitor.field(
      "for", consumer,
      {.doc = "Program that shall read the file.", .required = true, .choices = interop::consumer_registry().names()});
  visitor.field("every", every, {.doc = "How often, besides the end of the run."});
  visitor.field("dtype", dtype, {.doc = "Numbers of the file.", .choices = {"float32", "bfloat16", "float16"}});
  visitor.field("shard_gib", shard_gib,
                {.doc = "GiB of arrays in one file of a merged model, at most.", .min = 0.0, .exclusive_min = true});
  visitor.field("name", name, {.doc = "Name of the export. null: the run's."});
  visitor.field("title", title, {.doc = "Title that WebUIs show. Empty: the export's name."});
  visitor.field("author", author, {.doc = "Author that WebUIs show."});
  visitor.field("trigger", trigger, {.doc = "Words in a prompt that call what was learned; WebUIs show them."});
  visitor.field("tags", tags, {.doc = "Tags that WebUIs show."});
  visitor.field("privacy", privacy, {.doc = "Write no paths, captions or times into the file."});
}

void RunConfig::describe(config::Visitor& visitor) {
  visitor.group("run", run, "The run itself.");
  visitor.group("model", model, "The frozen model.");
  visitor.group("adapter", adapter, "The trained change.");
  visitor.group("data", data, "What is learned from.");
  visitor.group("text", text, "How a diffusion model reads captions.");
  visitor.group("batch", batch, "Samples of an update.");
  visitor.group("objective", objective, "The loss.");
  visitor.group("optimizer", optimizer, "From gradients to new values.");
  visitor.group("schedule", schedule, "The learning rate over the run.");
  visitor.group("parallel", parallel, "The work of many ranks.");
  visitor.group("validation", validation, "Held-out loss.");
  visitor.group("samples", samples, "Pictures of a diffusion model while it trains.");
  visitor.group("checkpoint", checkpoint, "Saving, to continue after an interruption.");
  visitor.list("export", exports, "Files for other programs, one map each.");
}

std::string RunConfig::name() const {
  if (!run.name.empty()) {
    return run.name;
  }
  const std::filesystem::path directory = run.directory.lexically_normal();
  const std::string last = (directory.has_filename() ? directory : directory.parent_path()).filename().string();
  return last.empty() || last == "." || last == ".." ? "run" : last;
}

RunConfig load_run_config(const std::filesystem::path& file, std::span<const std::string> overrides) {
  config::Source source = config::Source::from_file(file);
  source.overrides = overrides;
  const config::Document document = config::Document::parse(source);
  if (const config::Member* sweep = document.root.find_member("sweep")) {
    fail(Fault::kUsage, "{}:{}: sweep: the file describes a sweep; start it with 'dormer sweep run {}'", document.name,
         sweep->place.line, document.name);
  }
  RunConfig config;
  config::refuse(document, read_run_config(document, config));
  return config;
}

std::vector<config::Mistake> read_run_config(const config::Document& document, RunConfig& config, Checks checks) {
  const std::vector<config::ForeignName> foreign = foreign_names();
  const auto sample = std::make_unique<RunConfig>();
  std::vector<config::Mistake> mistakes = config::find_mistakes(
      document, {.target = [&](config::Visitor& visitor) { config.describe(visitor); },
                 .sample = [&](config::Visitor& visitor) { sample->describe(visitor); },
                 .rules = [&] { return checks == Checks::kRules ? check(config) : std::vector<std::string>{}; },
                 .foreign_names = foreign});
  if (mistakes.empty() && config.adapter.decompose && config.adapter.decompose->axis == "auto" &&
      !config.adapter.profile) {
    config.adapter.decompose->axis = settled_axis(config, interop::consumer_registry());
  }
  return mistakes;
}

std::string configuration_page() {
  RunConfig sample;
  return "# Configuration\n\n"
         "Every key of a run's file, written by `dormer config reference`. `dormer config show FILE` prints a file "
         "with all\n"
         "defaults filled in. `--set group.key=value` changes a key on the command line; `--set group.key=null` takes "
         "it\n"
         "away, so that its default counts. Updates, warm-up and cadence count updates of the global batch: the number "
         "of\n"
         "ranks does not change an experiment.\n" +
         config::reference_markdown(config::list_keys([&](config::Visitor& visitor) { sample.describe(visitor); }));
}

}  // namespace dormer::train
