#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/core/dtype.hpp"
#include "dormer/core/registry.hpp"
#include "dormer/model/language_model.hpp"

namespace dormer::interop {

/// What files say about the base that an adapter belongs to.
struct BaseFacts {
  std::optional<std::string> hub_id;               ///< "org/name"; never a path of one machine
  std::filesystem::path folder;                    ///< tokenizer files are copied from here; empty: none are
  std::vector<std::string> linear_layers;          ///< names of all layers where an adapter could attach
  std::span<const adapter::FrozenLayer> layers{};  ///< those layers; the model must outlive this
};

[[nodiscard]] BaseFacts facts_of(const model::LanguageModel& model, const std::filesystem::path& folder);

/// One consumer's way to hold an adapter.
struct AdapterFormat {
  std::string_view doc;
  std::vector<std::string_view> axes;     ///< decompositions that the consumer computes: "output", "input"
  std::vector<std::string_view> kinds{};  ///< kinds of adapters that it holds; empty: all
  bool added_tokens = false;              ///< whether it holds rows of added tokens
  /// Writes `target` whole or not at all, reads it back and compares it.
  std::function<void(const adapter::AdapterSet& adapters, const std::filesystem::path& target, const BaseFacts& base,
                     DType dtype)>
      write;
  /// Whether `source` looks like this format.
  std::function<bool(const std::filesystem::path& source)> recognizes;
  /// Sets the parameters so that the adapter's function is the file's; throws a usage error where that cannot be.
  std::function<void(adapter::AdapterSet& adapters, const std::filesystem::path& source)> load;
};

/// Formats by consumer (`export.for`), in the order of the list in src/interop/CMakeLists.txt.
[[nodiscard]] Registry<AdapterFormat> adapter_formats();

/// For `init_from`: finds the format that recognizes `source` and loads it.
void load_adapter_into(adapter::AdapterSet& adapters, const std::filesystem::path& source);

}  // namespace dormer::interop
