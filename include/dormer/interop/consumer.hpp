#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/core/registry.hpp"
#include "dormer/interop/adapter_format.hpp"

namespace dormer::interop {

/// A program that reads adapters (`export.for`): what it computes exactly, and the form that it reads.
struct Consumer {
  std::string_view doc;
  std::string_view format;                ///< of `adapter_formats`; empty: the model itself, merged
  std::vector<std::string_view> axes{};   ///< decompositions that it computes: "output", "input"; empty: none
  std::vector<std::string_view> kinds{};  ///< kinds of adapters that it computes; empty: all
  std::vector<ModelFamily> families{};    ///< models whose layers it has names for; empty: any
  bool added_tokens = false;              ///< whether it reads rows of added tokens
  bool biases = false;                    ///< whether it reads biases that trained beside a change
  /// Further limits; throws a usage error that names the way out. May be null.
  std::function<void(const StoredAdapter& adapter)> check{};
};

/// Consumers by name, in the order of the list in src/interop/CMakeLists.txt.
[[nodiscard]] Registry<Consumer> consumer_registry();

/// Throws a usage error where this consumer would not compute the adapter's function, naming the way out: another axis
/// at the next training, merged weights now.
void require_exact(std::string_view name, const Consumer& consumer, const StoredAdapter& adapter);

/// Writes `adapter` for a consumer into `target` (its form's folder or file), reads it back by its form's reader, and
/// compares Δ and magnitudes of every layer with what was to be written before it returns. Nothing is left where that
/// fails. Not for consumers of the merged model.
void write_for(std::string_view name, const Consumer& consumer, const StoredAdapter& adapter,
               const std::filesystem::path& target, const WriteRequest& request);

/// Throws a bug error unless the stored layers multiply with what the trained ones do: the effective weights, straight
/// from the formulas, against those of the arithmetic that trains. For adapters of a model in memory (`base.layers`).
void require_same_function(const StoredAdapter& stored, const adapter::AdapterSet& adapters, const BaseFacts& base);

}  // namespace dormer::interop
