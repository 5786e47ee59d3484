#include "train/tiny_run.hpp"

#include <sstream>

#include <nlohmann/json.hpp>

#include "dormer/core/atomic_file.hpp"
#include "support/tiny_model.hpp"

namespace dormer::train {

TinyRun::TinyRun() : own_(std::in_place), folder_(own_->path()) {
  prepare(folder_);
}

void TinyRun::prepare(const std::filesystem::path& folder) {
  test::write_tiny_model(folder / "model");
  test::write_tiny_tokens(folder / "train.h5", 16 * 50 + 1, 1);
  test::write_tiny_tokens(folder / "validation.h5", 16 * 9 + 1, 2);
  for (const bool tied : {true, false}) {
    const std::filesystem::path small = folder / (tied ? "tied" : "separate");
    test::write_tiny_model(small, {.vocabulary = 20, .tied = tied});
    write_file_atomically(small / "tokenizer.json", test::tiny_tokenizer(23));
  }
  test::write_tiny_tokens(folder / "train23.h5", 16 * 50 + 1, 3, 23);
  test::write_tiny_tokens(folder / "validation23.h5", 16 * 9 + 1, 4, 23);
}

RunConfig TinyRun::config_with_added_tokens(const std::string& run, bool tied) const {
  RunConfig result = config(run);
  result.model.path = folder_ / (tied ? "tied" : "separate");
  result.model.added_tokens = "train";
  result.data.train = folder_ / "train23.h5";
  result.data.validation = folder_ / "validation23.h5";
  return result;
}

RunConfig TinyRun::config(const std::string& run) const {
  RunConfig config;
  config.run.directory = folder_ / run;
  config.run.seed = 7;
  config.run.steps = 6;
  config.run.device = "cpu";
  config.model.path = folder_ / "model";
  config.model.dtype = "float32";
  config.adapter.rank = 4;
  config.adapter.decompose.emplace();
  config.data.train = folder_ / "train.h5";
  config.data.validation = folder_ / "validation.h5";
  config.data.sequence_length = 16;
  config.batch.global = 8;
  config.batch.micro = 2;
  config.optimizer.learning_rate = 5e-3;
  config.schedule.warmup = {.amount = 2.0, .share = false};
  config.validation.every = config::Cadence::steps(2);
  config.checkpoint.every = config::Cadence::steps(2);
  config.exports.resize(1);
  config.exports[0].consumer = "peft";
  return config;
}

storage::Checkpoint newest_checkpoint(const std::filesystem::path& run) {
  return storage::load_checkpoint(storage::list_checkpoints(run / "checkpoints").at(0).folder);
}

std::string newest_arrays(const std::filesystem::path& run) {
  std::string bytes;
  for (const storage::StoredArray& array : newest_checkpoint(run).arrays) {
    bytes += array.name + ':';
    bytes.append(reinterpret_cast<const char*>(array.bytes.data()), array.bytes.size());
  }
  return bytes;
}

std::string exported_weights(const std::filesystem::path& run) {
  return read_file(run / "export/peft/adapter_model.safetensors", "exported adapter");
}

std::string timeless_metrics(const std::filesystem::path& run) {
  std::istringstream lines(read_file(run / "metrics.jsonl", "metrics"));
  std::string result;
  for (std::string line; std::getline(lines, line);) {
    nlohmann::ordered_json object = nlohmann::ordered_json::parse(line);
    object.erase("tokens_per_second");
    result += object.dump() + '\n';
  }
  return result;
}

}  // namespace dormer::train
