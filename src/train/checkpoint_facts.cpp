#include "dormer/train/checkpoint_facts.hpp"

#include <fmt/format.h>

#include "dormer/storage/checkpoint.hpp"
#include "train/run_state.hpp"

namespace dormer::train {
namespace {

std::string progress(const RunState& state) {
  return fmt::format("{} of {} updates, {} samples{}", state.step, state.total_steps, state.position,
                     state.finished ? ", finished" : "");
}

std::string arrays(const storage::Manifest& manifest) {
  std::uint64_t bytes = 0;
  for (const storage::ManifestFile& file : manifest.files) {
    bytes += file.bytes;
  }
  return fmt::format("{} in {} file{}, {:.1f} MiB", manifest.arrays.size(), manifest.files.size(),
                     manifest.files.size() == 1 ? "" : "s", static_cast<double>(bytes) / (1024.0 * 1024.0));
}

}  // namespace

std::vector<Fact> checkpoint_facts(const std::filesystem::path& folder) {
  const storage::Manifest manifest = storage::read_manifest(folder);
  const RunState state = parse_run_state(manifest.state, (folder / storage::Manifest::kFileName).string());
  std::vector<Fact> facts{{"progress", progress(state)}, {"arrays", arrays(manifest)}};
  const auto add_loss = [&](const char* name, const std::optional<double>& loss) {
    if (loss) {
      facts.emplace_back(name, fmt::format("{:.6f}", *loss));
    }
  };
  add_loss("validation loss, first", state.first_validation_loss);
  add_loss("validation loss, last", state.last_validation_loss);
  if (state.best.loss) {
    facts.emplace_back("validation loss, best", fmt::format("{:.6f} at update {}", *state.best.loss, state.best.step));
  }
  for (const char* key : {"model.path", "adapter.kind", "adapter.rank", "adapter.decompose.axis", "data.train"}) {
    if (const auto found = state.config.find(key); found != state.config.end()) {
      facts.emplace_back(key, found->second);
    }
  }
  for (const auto& [name, value] : state.fingerprint) {
    facts.emplace_back(name, value);
  }
  for (const std::string& change : state.inexact_since) {
    facts.emplace_back("not the same bits since", change);
  }
  return facts;
}

}  // namespace dormer::train
