#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/json_extent.hpp"

namespace dormer::model {

/// The config.json of one part of a diffusers folder. Throws an input error where it is missing or no object.
class PartConfig {
 public:
  explicit PartConfig(const std::filesystem::path& folder) : where_((folder / "config.json").string()) {
    const std::string text = read_file(folder / "config.json", "the model's config.json");
    require_shallow_json(text, where_);
    object_ = nlohmann::json::parse(text, nullptr, false);
    require(object_.is_object(), Fault::kInput, "{} is not a JSON object", where_);
  }

  [[nodiscard]] const nlohmann::json& object() const { return object_; }
  [[nodiscard]] const std::string& where() const { return where_; }

 private:
  std::string where_;
  nlohmann::json object_;
};

}  // namespace dormer::model
