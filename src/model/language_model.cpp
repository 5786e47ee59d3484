#include "dormer/model/language_model.hpp"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/model/family.hpp"
#include "dormer/model/model_folder.hpp"

namespace dormer::model {

std::unique_ptr<LanguageModel> load_language_model(const std::filesystem::path& folder, const Placement& placement) {
  const std::filesystem::path resolved = resolve_model_folder(folder);
  const std::string text = read_file(resolved / "config.json", "the model's config.json");
  const nlohmann::json config = nlohmann::json::parse(text, nullptr, false);
  const std::string where = (resolved / "config.json").string();
  require(config.is_object(), Fault::kInput, "{} is not a JSON object", where);
  require(config.contains("model_type") && config["model_type"].is_string(), Fault::kInput, "{} names no model_type",
          where);
  const auto type = config["model_type"].get<std::string>();
  const Registry<ModelFamily> families = model_families();
  std::vector<std::string> known;
  for (const auto& [name, family] : families.entries()) {
    if (std::find(family.model_types.begin(), family.model_types.end(), type) != family.model_types.end()) {
      return family.load(resolved, text, placement);
    }
    known.insert(known.end(), family.model_types.begin(), family.model_types.end());
  }
  fail(Fault::kInput, "{}: no family reads model_type '{}'; known: {}", where, type, fmt::join(known, ", "));
}

std::unique_ptr<LanguageModel> load_language_model(const std::filesystem::path& folder, DType compute_dtype) {
  return load_language_model(folder, Placement{.dtype = compute_dtype});
}

}  // namespace dormer::model
