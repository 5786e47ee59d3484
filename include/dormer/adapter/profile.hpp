#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/adapter/site.hpp"

namespace dormer::adapter {

struct AdapterConfig;

/// What another program's training does where the configuration says nothing else.
struct Profile {
  std::string_view name;
  Axis axis = Axis::kOutput;      ///< of a decomposition whose axis is auto
  bool has_input_axis = false;    ///< whether the program knows it
  double epsilon = 0.0;           ///< added to norms
  bool norm_gradient = false;     ///< whether norms pass gradients on
  bool whole_dropout = false;     ///< the layer's own product sees the dropped input, too
  bool rounds_magnitude = false;  ///< magnitudes start in the dtype of the frozen weight
};

[[nodiscard]] std::vector<std::string> profile_names();
/// The profile that a configuration names, or nothing.
[[nodiscard]] std::optional<Profile> profile_of(const AdapterConfig& config);
/// What in a configuration the named program does otherwise, each with the line to write: "path.to.key: text". Pure.
[[nodiscard]] std::vector<std::string> profile_contradictions(const AdapterConfig& config);

}  // namespace dormer::adapter
