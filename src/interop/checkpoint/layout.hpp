#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "dormer/storage/array_views.hpp"

/// What the arrays of a diffusion model in one file are in diffusers' folders. Pure, as all here: names and shapes in,
/// configurations and views out. Names: CompVis' latent-diffusion and stablediffusion, Stability's generative-models
/// and sd3.5, and OpenCLIP; settings that no shape tells: the configurations of the released models.
namespace dormer::interop {

using Settings = nlohmann::ordered_json;

/// The arrays of a file.
class ArrayShapes {
 public:
  void add(std::string name, std::vector<std::int64_t> shape) { shapes_.emplace(std::move(name), std::move(shape)); }
  [[nodiscard]] bool has(std::string_view name) const { return shapes_.find(name) != shapes_.end(); }
  /// Throws an input fault that names the array where it is missing or has too few dimensions.
  [[nodiscard]] std::int64_t size(const std::string& name, std::size_t dimension) const;
  [[nodiscard]] std::size_t dimensions(const std::string& name) const;
  /// How many of "BEGIN0END", "BEGIN1END", … are there.
  [[nodiscard]] std::int64_t count(const std::string& begin, const std::string& end) const;
  /// Calls `each` with the rest of every name that begins so.
  void under(std::string_view prefix,
             const std::function<void(const std::string& rest, const std::vector<std::int64_t>& shape)>& each) const;

 private:
  std::map<std::string, std::vector<std::int64_t>, std::less<>> shapes_;
};

enum class Rearrangement : std::uint8_t {
  kTransposed,     ///< a matrix
  kHalvesSwapped,  ///< the first half of the rows comes last
  kIdentity        ///< the identity on vectors as long as this table's rows
};
/// An array that no view of the file shows as diffusers has it.
struct RearrangedArray {
  Rearrangement how = Rearrangement::kTransposed;
  std::string array;  ///< in the file
  std::string name;   ///< in diffusers
};

/// One folder of diffusers'. `file` of the views is empty: the checkpoint.
struct PartLayout {
  std::string folder;
  std::string stem;
  Settings config;
  std::vector<storage::ArrayView> arrays;
  std::vector<RearrangedArray> rearranged;
};

/// Stable Diffusion's families.
enum class CheckpointFamily : std::uint8_t { kFirst, kSecond, kExtraLarge, kThird };

struct CheckpointLayout {
  CheckpointFamily family = CheckpointFamily::kFirst;
  std::vector<PartLayout> parts;
  Settings index;                         ///< model_index.json
  std::optional<std::string> prediction;  ///< what the file says; nothing where it leaves it open
  bool zero_terminal_snr = false;
};

/// Input faults name what the file is, or the first array that it lacks.
[[nodiscard]] CheckpointLayout checkpoint_layout(const ArrayShapes& arrays,
                                                 const std::map<std::string, std::string>& metadata);

/// Adds views of an array's rows in three parts of one height, from the top down.
void add_thirds(PartLayout& part, std::span<const std::string> names, const std::string& array,
                std::vector<std::int64_t> shape);

[[nodiscard]] PartLayout denoiser_layout(const ArrayShapes& arrays);
/// Of Stable Diffusion 3 and 3.5.
[[nodiscard]] PartLayout transformer_layout(const ArrayShapes& arrays);
/// Latents are (z - shift) scaling.
[[nodiscard]] PartLayout autoencoder_layout(const ArrayShapes& arrays, double scaling, double shift);
/// transformers' names under `prefix`.
[[nodiscard]] PartLayout clip_layout(const ArrayShapes& arrays, std::string folder, const std::string& prefix);
/// What Stable Diffusion 3 makes of a pooled state.
enum class ClipProjection : std::uint8_t {
  kOfFile,   ///< of OpenCLIP's bigG, and its activation
  kIdentity  ///< of CLIP-L, whose own projection is passed by
};
/// The same with a projection.
[[nodiscard]] PartLayout projecting_clip_layout(const ArrayShapes& arrays, std::string folder,
                                                const std::string& prefix, ClipProjection projection);
/// OpenCLIP's names under `prefix`; `skipped` layers and, with any, the projection stay out.
[[nodiscard]] PartLayout open_clip_layout(const ArrayShapes& arrays, std::string folder, const std::string& prefix,
                                          std::int64_t skipped);

}  // namespace dormer::interop
