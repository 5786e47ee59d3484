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
#include "dormer/interop/stored_adapter.hpp"

namespace dormer::interop {

/// What files say about the base that an adapter belongs to.
struct BaseFacts {
  std::optional<std::string> hub_id;               ///< "org/name"; never a path of one machine
  std::filesystem::path folder;                    ///< tokenizer files are copied from here; empty: none are
  std::vector<std::string> linear_layers;          ///< names of all layers where an adapter could attach
  std::span<const adapter::FrozenLayer> layers{};  ///< those layers; the model must outlive this
  ModelFamily family = ModelFamily::kLanguage;
};

[[nodiscard]] BaseFacts facts_of(std::span<const adapter::FrozenLayer> layers, const std::filesystem::path& folder);

/// What the WebUIs show about a file. Empty: not said.
struct FileText {
  std::string title;
  std::string author;
  std::string trigger;  ///< words that call what was learned
  std::vector<std::string> tags;
  bool privacy = false;  ///< no paths, captions or times in the file
};

struct WriteRequest {
  const BaseFacts& base;
  DType dtype = DType::kF32;
  FileText text{};
  std::string name{};  ///< of the output, for forms that say it in the file; empty: the target's without its ending
};

struct ReadOptions {
  bool allow_partial = false;  ///< arrays that are not understood are listed in `left_out`, not refused
};

/// One form of adapter files: a spelling of names, shapes and numbers.
struct AdapterFormat {
  std::string_view doc;
  /// Of the file in an export's folder, "{}" standing for the export's name; empty: the form is a whole folder.
  std::string_view file_name{};
  /// Whether `source` looks like this form. Reads headers alone.
  std::function<bool(const std::filesystem::path& source)> recognizes;
  /// Validates all of it; what is not understood is refused with its name (input faults).
  std::function<StoredAdapter(const std::filesystem::path& source, const ReadOptions& options)> read;
  /// Writes `target` (a folder, or a file) whole or not at all; an adapter that has no place in this form is refused by
  /// a usage error that names the way out. Null: the form is only read.
  std::function<void(const StoredAdapter& adapter, const std::filesystem::path& target, const WriteRequest& request)>
      write{};
  /// Throws the usage error that `write` would throw for this adapter's layers, and writes nothing: a run asks before
  /// it trains. May be null.
  std::function<void(const StoredAdapter& adapter)> check{};
};

/// Forms by name, in the order of the list in src/interop/CMakeLists.txt, which is the order in which they are tried.
[[nodiscard]] Registry<AdapterFormat> adapter_formats();

/// The form of a file or folder, by name; throws an input fault where it is none.
[[nodiscard]] std::string format_of(const std::filesystem::path& source);
/// Reads an adapter of any form.
[[nodiscard]] StoredAdapter read_adapter(const std::filesystem::path& source, const ReadOptions& options = {});

/// For `init_from`: sets the parameters so that the adapter's function is the file's; throws a usage error with the
/// lines to write where that cannot be. A file without magnitudes starts a decomposed run at its own function.
void load_adapter_into(adapter::AdapterSet& adapters, const std::filesystem::path& source);

}  // namespace dormer::interop
