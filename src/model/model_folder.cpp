#include "dormer/model/model_folder.hpp"

#include <algorithm>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <vector>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"

namespace dormer::model {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> hub_caches() {
  std::vector<fs::path> caches;
  if (const char* cache = std::getenv("HF_HUB_CACHE")) {
    caches.emplace_back(cache);
  }
  if (const char* home = std::getenv("HF_HOME")) {
    caches.push_back(fs::path(home) / "hub");
  } else if (const char* user = std::getenv("HOME")) {
    caches.push_back(fs::path(user) / ".cache" / "huggingface" / "hub");
  }
  return caches;
}

/// Files that make a folder a model's: any of them.
using Markers = std::initializer_list<const char*>;
constexpr const char* kModel = "config.json";
constexpr const char* kPipeline = "model_index.json";

bool holds_any(const fs::path& folder, Markers markers) {
  return std::ranges::any_of(markers, [&](const char* marker) {
    std::error_code code;
    return fs::exists(folder / marker, code);
  });
}

/// The snapshot of a hub cache entry: the one that refs/main names, else the only one.
std::optional<fs::path> snapshot_of(const fs::path& entry, Markers markers) {
  std::error_code code;
  const fs::path reference = entry / "refs" / "main";
  if (fs::exists(reference, code)) {
    std::string revision = read_file(reference, "the hub cache's reference");
    revision.erase(revision.find_last_not_of(" \n\r\t") + 1);
    const fs::path folder = entry / "snapshots" / revision;
    if (holds_any(folder, markers)) {
      return folder;
    }
  }
  std::optional<fs::path> only;
  for (const auto& snapshot : fs::directory_iterator(entry / "snapshots", code)) {
    if (holds_any(snapshot.path(), markers)) {
      require(!only.has_value(), Fault::kInput,
              "{} holds several snapshots and refs/main names none of them: name one snapshot folder", entry.string());
      only = snapshot.path();
    }
  }
  return only;
}

/// "org/name" for a cache entry's folder name "models--org--name".
std::optional<std::string> id_of_entry(const std::string& name) {
  const std::string prefix = "models--";
  if (!name.starts_with(prefix)) {
    return std::nullopt;
  }
  std::string id = name.substr(prefix.size());
  const std::size_t separator = id.find("--");
  if (separator != std::string::npos) {
    id.replace(separator, 2, "/");
  }
  return id;
}

/// Whether a text is "org/name": exactly one slash, no path of a machine.
bool looks_like_hub_id(const std::string& text) {
  const std::size_t slash = text.find('/');
  return slash != std::string::npos && slash > 0 && slash + 1 < text.size() &&
         text.find('/', slash + 1) == std::string::npos && text.find_first_of(" \\") == std::string::npos &&
         text.front() != '.' && text.front() != '~';
}

fs::path resolve(const fs::path& path, Markers markers) {
  require(!path.empty(), Fault::kUsage, "model.path is empty: write a model folder or org/name");
  std::error_code code;
  if (holds_any(path, markers)) {
    return path;
  }
  if (fs::exists(path / "snapshots", code)) {
    if (const auto snapshot = snapshot_of(path, markers)) {
      return *snapshot;
    }
  }
  std::string searched;
  if (looks_like_hub_id(path.string())) {
    std::string entry = path.string();
    entry.replace(entry.find('/'), 1, "--");
    for (const fs::path& cache : hub_caches()) {
      const fs::path candidate = cache / ("models--" + entry);
      if (const auto snapshot = snapshot_of(candidate, markers)) {
        return *snapshot;
      }
      searched += (searched.empty() ? "; not in " : ", ") + candidate.string();
    }
  }
  require(!fs::is_directory(path, code), Fault::kInput,
          "the model folder {} has no {}: it must be a Hugging Face folder", path.string(), fmt::join(markers, " or "));
  fail(Fault::kInput, "model not found: {} is no folder{}; download it before (nothing is fetched at run time)",
       path.string(), searched);
}

}  // namespace

fs::path resolve_model_folder(const fs::path& path) {
  return resolve(path, {kModel});
}

fs::path resolve_model_or_pipeline(const fs::path& path) {
  return resolve(path, {kModel, kPipeline});
}

bool is_pipeline(const fs::path& folder) {
  std::error_code code;
  return fs::exists(folder / kPipeline, code);
}

std::string denoiser_part(const fs::path& folder) {
  return fs::exists(folder / "transformer" / kModel) ? "transformer" : "unet";
}

std::optional<std::string> hub_id_of(const fs::path& folder) {
  const fs::path whole = fs::weakly_canonical(folder);
  if (whole.parent_path().filename() == "snapshots") {
    return id_of_entry(whole.parent_path().parent_path().filename().string());
  }
  const nlohmann::json config = nlohmann::json::parse(
      read_file(folder / (is_pipeline(folder) ? kPipeline : kModel), "the model's configuration"), nullptr, false);
  if (config.is_object() && config.contains("_name_or_path") && config["_name_or_path"].is_string()) {
    const std::string name = config["_name_or_path"].get<std::string>();
    std::error_code code;
    if (looks_like_hub_id(name) && !fs::exists(name, code)) {
      return name;
    }
  }
  return std::nullopt;
}

}  // namespace dormer::model
