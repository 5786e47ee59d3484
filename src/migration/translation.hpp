#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "migration/foreign_file.hpp"

namespace dormer::migration {

/// Why most settings have no counterpart.
inline constexpr const char* kNotHere = "is not available in this version";

/// A foreign configuration on its way into ours. What a program's file takes is dealt with; what nobody took is told.
/// Paths are keys with dots between them. Values that are numbers or texts of numbers are taken as either.
class Translation {
 public:
  Translation(Json foreign, std::filesystem::path file);

  /// The value, which counts as dealt with; null where there is none.
  const Json* take(std::string_view path);
  [[nodiscard]] std::optional<double> number(std::string_view path);
  [[nodiscard]] std::optional<std::string> text(std::string_view path);
  [[nodiscard]] bool truth(std::string_view path, bool otherwise = false);

  /// All of the settings, and others in their place.
  [[nodiscard]] const Json& all() const { return foreign_; }
  void replace(Json settings) { foreign_ = std::move(settings); }

  /// Our key's value, with a remark behind it.
  void set(std::string_view key, Json value, std::string remark = {});
  void copy(std::string_view path, std::string_view key);
  /// The value's counterpart among `words`; tells that there is none for another value.
  void choose(std::string_view path, std::string_view key,
              std::initializer_list<std::pair<std::string_view, const char*>> words);

  /// Tells that a setting has no counterpart, where it is there and asks for something.
  void lacks(std::string_view path, std::string_view why);
  /// Settings without any meaning here, which nobody misses.
  void ignore(std::initializer_list<std::string_view> paths);
  /// Something that is to be said of the result.
  void tell(std::string text);

  [[nodiscard]] const std::filesystem::path& file() const { return file_; }
  /// The setting that was looked at last.
  [[nodiscard]] const std::string& latest() const { return latest_; }
  /// A file that the settings name, as a path from their file's folder, or as it stands.
  [[nodiscard]] std::filesystem::path beside(const std::string& named) const;
  [[nodiscard]] const Json& ours() const { return ours_; }
  [[nodiscard]] bool has(std::string_view path) const { return find(path) != nullptr; }

  /// What was told, and all that nobody took.
  [[nodiscard]] std::vector<std::string> unmapped() const;
  /// Ours as a file.
  [[nodiscard]] std::string yaml() const;

 private:
  [[nodiscard]] const Json* find(std::string_view path) const;
  void collect_rest(const Json& value, const std::string& path, std::vector<std::string>& rest) const;

  Json foreign_;
  std::filesystem::path file_;
  Json ours_ = Json::object();
  std::vector<std::pair<std::string, std::string>> remarks_;
  std::set<std::string, std::less<>> taken_;
  std::vector<std::string> told_;
  std::string latest_;
};

/// The number that a text is as a whole, without spaces around it; std::invalid_argument where it is none.
[[nodiscard]] double number_of(std::string_view text);

/// The parts of a list that is written as one text, "512, 768", without spaces before them and without empty ones.
[[nodiscard]] std::vector<std::string> comma_parts(std::string_view text);

/// "10, MINUTE" as a cadence of ours: "10 min", "1 epoch", 30; null for never.
[[nodiscard]] Json cadence(double amount, std::string_view unit);

}  // namespace dormer::migration
