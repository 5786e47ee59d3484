#include "layer_arrays.hpp"

#include <algorithm>
#include <span>
#include <utility>

#include <fmt/ranges.h>

#include "dormer/core/error.hpp"
#include "stored_values.hpp"

namespace dormer::interop {
namespace {

namespace fs = std::filesystem;

class Reader {
 public:
  Reader(const storage::SafetensorsFile& file, const ReadOptions& options, const MeaningOf& meaning_of)
      : file_(file), options_(options), meaning_of_(meaning_of), where_(file.path().string()) {}

  StoredAdapter read() {
    adapter_.metadata = file_.metadata();
    for (const storage::TensorEntry& entry : file_.tensors()) {
      take(entry);
    }
    require(adapter_.left_out.empty() || options_.allow_partial, Fault::kInput,
            "{} has {} arrays that are not understood: {}; --allow-partial reads it without them", where_,
            adapter_.left_out.size(), first_names(adapter_.left_out));
    require(!adapter_.layers.empty(), Fault::kInput, "{} holds no layer of this form", where_);
    set_dora_scales();
    for (auto& [name, layer] : adapter_.layers) {
      finish_layer(layer, name);
    }
    warn_of_missing_alphas(adapter_);
    return std::move(adapter_);
  }

 private:
  void take(const storage::TensorEntry& entry) {
    const std::optional<ArrayMeaning> meaning = meaning_of_(entry.name);
    if (!meaning) {
      adapter_.left_out.push_back(entry.name);
      return;
    }
    StoredLayer& layer = adapter_.layers[meaning->layer];
    if (meaning->tensor == "alpha") {
      require(!layer.alpha, Fault::kInput, "'{}' of {} has two alphas, under two spellings", meaning->layer, where_);
      layer.alpha = read_number(file_, entry);
    } else if (meaning->tensor == "magnitude") {
      set_magnitude(layer, meaning->layer, entry);
    } else if (meaning->tensor == "dora_scale") {
      const bool first = dora_scales_.emplace(meaning->layer, &entry).second;
      require(first, Fault::kInput, "'{}' of {} has two arrays of magnitudes", meaning->layer, where_);
    } else {
      layer.dtype = entry.dtype;
      put_factor(layer, meaning->layer, meaning->tensor, read_array(file_, entry));
    }
  }

  /// [out], or [1, out, 1, 1] of a convolution: PEFT's shapes.
  void set_magnitude(StoredLayer& layer, const std::string& name, const storage::TensorEntry& entry) {
    require(!layer.axis, Fault::kInput, "'{}' of {} has two arrays of magnitudes", name, where_);
    const StoredArray values = read_array(file_, entry);
    const std::vector<std::int64_t>& shape = values.shape;
    const std::size_t at = shape.size() > 2 ? 1 : 0;
    require(!shape.empty() && shape[at] == std::ssize(values.values), Fault::kInput,
            "'{}' of {} has the shape [{}] instead of one number for every output", entry.name, where_,
            fmt::join(shape, ", "));
    layer.axis = adapter::Axis::kOutput;
    layer.magnitude = values.values;
  }

  void set_dora_scales() {
    std::map<adapter::Axis, std::string> seen;  // with a layer that has it
    for (const auto& [name, entry] : dora_scales_) {
      if (const std::optional<adapter::Axis> axis = axis_of_shape(entry->shape)) {
        seen.emplace(*axis, name);
      }
    }
    for (const auto& [name, layer] : adapter_.layers) {
      if (layer.axis) {
        seen.emplace(*layer.axis, name);
      }
    }
    if (seen.size() > 1) {
      fail(
          Fault::kInput,
          "{} has magnitudes of two axes: of '{}' by output, of '{}' by input; no program computes both, so convert it "
          "again from where it was trained",
          where_, seen.at(adapter::Axis::kOutput), seen.at(adapter::Axis::kInput));
    }
    for (const auto& [name, entry] : dora_scales_) {
      // [1, 1] tells nothing by itself, but a file has one axis. A single dimension is no shape of a dora_scale.
      const bool told = entry->shape.size() >= 2 && seen.size() == 1;
      set_dora_scale(adapter_.layers.at(name), name, read_array(file_, *entry),
                     told ? std::optional(seen.begin()->first) : std::nullopt);
    }
  }

  const storage::SafetensorsFile& file_;
  const ReadOptions& options_;
  const MeaningOf& meaning_of_;
  std::string where_;
  std::map<std::string, const storage::TensorEntry*> dora_scales_{};  ///< by layer name
  StoredAdapter adapter_{};
};

}  // namespace

StoredAdapter read_layer_arrays(const storage::SafetensorsFile& file, const ReadOptions& options,
                                const MeaningOf& meaning_of) {
  return Reader(file, options, meaning_of).read();
}

bool any_array(const fs::path& source, const std::function<bool(const std::string& name)>& holds) {
  std::error_code code;
  if (source.extension() != ".safetensors" || !fs::is_regular_file(source, code)) {
    return false;
  }
  const auto file = storage::SafetensorsFile::open(source);
  return std::ranges::any_of(file->tensors(), [&](const storage::TensorEntry& entry) { return holds(entry.name); });
}

void warn_of_missing_alphas(StoredAdapter& adapter) {
  std::int64_t low_rank = 0;
  std::vector<std::string> missing;
  for (const auto& [name, layer] : adapter.layers) {
    low_rank += layer.rank > 0 ? 1 : 0;
    if (layer.rank > 0 && !layer.alpha) {
      missing.push_back(name);
    }
  }
  if (!missing.empty() && std::ssize(missing) < low_rank) {
    adapter.warnings.push_back(fmt::format("{} of {} layers have no alpha and are read with the scale 1: {}",
                                           missing.size(), low_rank, first_names(missing)));
  }
}

std::string first_names(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 8;
  const auto shown = std::span(names).first(std::min(kShown, names.size()));
  return fmt::format("{}{}", fmt::join(shown, ", "),
                     names.size() > kShown ? fmt::format(" and {} more", names.size() - kShown) : "");
}

}  // namespace dormer::interop
