#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dormer/adapter/config.hpp"
#include "dormer/config/tree.hpp"
#include "dormer/config/values.hpp"
#include "dormer/config/visitor.hpp"
#include "dormer/core/registry.hpp"
#include "dormer/objective/denoise.hpp"
#include "dormer/train/image_section.hpp"
#include "dormer/train/optimizer_section.hpp"

namespace dormer::interop {
struct Consumer;
}

namespace dormer::train {

// One struct per group of the file; the groups and keys are a contract with users' scripts (docs/configuration.md).

/// Time without progress after which a rank ends the job; null: never. auto of `start` and `io`: as here.
struct WatchdogSection {
  config::Duration start{.seconds = 45 * 60};
  config::Duration step{.seconds = std::nullopt, .automatic = true};
  config::Duration io{.seconds = 45 * 60};
  void describe(config::Visitor& visitor);
};

struct RunSection {
  std::filesystem::path directory;  ///< as written: relative to the working directory
  std::string name;                 ///< empty: the directory's last part, see RunConfig::name
  std::int64_t seed = 0;
  std::optional<std::int64_t> steps;
  std::optional<double> epochs;
  std::string resume = "auto";  ///< auto | never
  std::string device = "auto";  ///< auto | cpu | cuda
  std::int64_t threads = 1;     ///< per rank
  config::Duration time_limit{.seconds = std::nullopt, .automatic = true};
  bool exact = true;
  bool deterministic = false;   ///< on GPUs; on a CPU every run is
  std::string linear = "auto";  ///< auto | plain | onednn
  bool recompute = false;
  WatchdogSection watchdog;
  void describe(config::Visitor& visitor);
};

struct ModelSection {
  std::filesystem::path path;
  std::string dtype = "auto";              ///< auto | float32 | bfloat16 | float16
  std::string stage = "auto";              ///< auto | none | a folder of this machine
  std::string added_tokens = "none";       ///< none | train: rows for the tokenizer's tokens that the model has not
  std::vector<std::string> train{"unet"};  ///< of a diffusion model: the parts that get adapters
  std::string vae_dtype = "float32";       ///< of its autoencoder
  /// Whether a text encoder is among the parts that get adapters.
  [[nodiscard]] bool trains_text() const;
  void describe(config::Visitor& visitor);
};

struct DataSection {
  std::string kind = "tokens";
  std::filesystem::path train;
  std::filesystem::path validation;  ///< empty: none
  std::int64_t sequence_length = 1024;
  std::string packing = "auto";       ///< auto | blocks | documents
  std::string too_long = "truncate";  ///< truncate | drop | error
  bool shuffle = true;
  ImageSection images;  ///< keys of kind: images, beside the others
  void describe(config::Visitor& visitor);
};

struct BatchSection {
  std::int64_t global = 8;  ///< samples in an update, over all ranks
  std::int64_t micro = 1;   ///< samples in one forward pass; divides `global`
  void describe(config::Visitor& visitor);
};

struct ObjectiveSection {
  std::string kind = "next_token";
  objective::DenoiseSettings denoise;  ///< keys of kind: denoise, beside it
  void describe(config::Visitor& visitor);
};

struct ParallelSection {
  std::string reduction = "auto";  ///< auto | exact | fast
  bool shard_optimizer = true;
  void describe(config::Visitor& visitor);
};

struct ValidationSection {
  config::Cadence every = config::Cadence::steps(20);
  std::int64_t samples = 64;
  bool keep_best = true;
  std::optional<std::int64_t> patience;  ///< validations without improvement before the run ends
  void describe(config::Visitor& visitor);
};

struct KeepSection {
  std::int64_t last = 2;
  std::int64_t best = 1;
  void describe(config::Visitor& visitor);
};

struct CheckpointSection {
  config::Cadence every = config::Cadence::seconds(15 * 60);
  bool background = true;  ///< training goes on while files are written
  KeepSection keep;
  void describe(config::Visitor& visitor);
};

struct ExportSection {
  std::string consumer;   ///< the key `for`
  config::Cadence every;  ///< never: at the end alone
  std::string dtype = "float32";
  double shard_gib = 4.0;           ///< of a merged model's files
  std::optional<std::string> name;  ///< absent: the run's
  std::string title{};              ///< what WebUIs show, as the next three; empty: the export's name
  std::string author{};
  std::string trigger{};
  std::vector<std::string> tags{};
  bool privacy = false;  ///< no paths, captions or times in the file
  [[nodiscard]] std::int64_t largest_file() const { return static_cast<std::int64_t>(shard_gib * 0x1p30); }
  void describe(config::Visitor& visitor);
};

/// Everything that a training run is told: one YAML file.
struct RunConfig {
  RunSection run;
  ModelSection model;
  adapter::AdapterConfig adapter;
  DataSection data;
  TextSection text;
  BatchSection batch;
  ObjectiveSection objective;
  OptimizerSection optimizer;
  ScheduleSection schedule;
  ParallelSection parallel;
  ValidationSection validation;
  SamplesSection samples;
  CheckpointSection checkpoint;
  std::vector<ExportSection> exports;  ///< the key `export`
  void describe(config::Visitor& visitor);

  /// `run.name`, or the last part of `run.directory`.
  [[nodiscard]] std::string name() const;
};

/// Reads `file`, applies "a.b=c" overrides, and throws one usage error with every mistake of keys, values and rules; a
/// file with a group `sweep` is no run's.
[[nodiscard]] RunConfig load_run_config(const std::filesystem::path& file, std::span<const std::string> overrides = {});

enum class Checks : std::uint8_t {
  kValues,  ///< every key and value by itself
  kRules    ///< those between keys too
};
/// Reads the run that a document describes into `config`, which must be a new one. Returns every mistake; where there
/// is none, `config` is what `load_run_config` gives.
[[nodiscard]] std::vector<config::Mistake> read_run_config(const config::Document& document, RunConfig& config,
                                                           Checks checks = Checks::kRules);

/// The text of docs/configuration.md: every key with its type, default, range and meaning.
[[nodiscard]] std::string configuration_page();

/// The rules between keys that no single field can state; each message is "path.to.key: text". Empty: all is well.
/// Pure.
[[nodiscard]] std::vector<std::string> check(const RunConfig& config);
/// The same for these consumers of exports.
[[nodiscard]] std::vector<std::string> check(const RunConfig& config, const Registry<interop::Consumer>& consumers);

/// What `decompose.axis: auto` means beside these exports: the input axis where every one of them computes it and one
/// prefers it, else the output axis. Pure.
[[nodiscard]] std::string settled_axis(const RunConfig& config, const Registry<interop::Consumer>& consumers);

/// What changed between a stored run and the file that resumes it; each entry is "path.to.key: old -> new".
struct ResumeComparison {
  std::vector<std::string> allowed;  ///< cadence, exports, name, time limit, more steps with schedule.extend
  std::vector<std::string> inexact;  ///< allowed, but the bits from here on may differ: threads, device, product path
  std::vector<std::string> refused;
};

/// What a run that is resumed must still have: flattened values without those that may change. Pure.
[[nodiscard]] std::map<std::string, std::string> lasting_values(std::map<std::string, std::string> values);

/// Classifies every difference of two flattened configurations (config::flatten). Pure.
[[nodiscard]] ResumeComparison compare_for_resume(const std::map<std::string, std::string>& stored,
                                                  const std::map<std::string, std::string>& current);

}  // namespace dormer::train
