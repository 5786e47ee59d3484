#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include "cli/adapter_inspection.hpp"
#include "cli/command.hpp"
#include "cli/inspection.hpp"
#include "dormer/core/error.hpp"
#include "dormer/data/token_set_facts.hpp"
#include "dormer/storage/checkpoint.hpp"
#include "dormer/storage/hdf5.hpp"
#include "dormer/storage/safetensors.hpp"

namespace dormer::cli::commands {
namespace {

struct Options {
  std::string path;
  bool arrays = false;
  bool json = false;
};

void print_array(const std::string& name, DType dtype, const std::vector<std::int64_t>& shape) {
  fmt::print("  {:<6} {:<18} {}\n", safetensors_name(dtype), fmt::format("[{}]", fmt::join(shape, ", ")), name);
}

void print_safetensors(const storage::SafetensorsFile& file) {
  fmt::print("{}: safetensors, {} tensors\n", file.path().string(), file.tensors().size());
  for (const auto& [key, value] : file.metadata()) {
    fmt::print("  metadata {} = {}\n", key, value);
  }
  for (const storage::TensorEntry& entry : file.tensors()) {
    print_array(entry.name, entry.dtype, entry.shape);
  }
}

void print_hdf5(const std::filesystem::path& path) {
  const storage::Hdf5Reader file = storage::Hdf5Reader::open_foreign(path, "an HDF5 file");
  fmt::print("{}: HDF5, {} arrays\n", path.string(), file.arrays().size());
  for (const char* name : {"format", "tokenizer_sha256"}) {
    if (const auto value = file.string_attribute(name)) {
      fmt::print("  attribute {} = {}\n", name, *value);
    }
  }
  if (const auto vocabulary = file.integer_attribute("vocab_size")) {
    fmt::print("  attribute vocab_size = {}\n", *vocabulary);
  }
  for (const storage::Hdf5Array& array : file.arrays()) {
    print_array(array.name, array.dtype, array.shape);
  }
}

void print_arrays(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) {
    path.extension() == ".safetensors" ? print_safetensors(*storage::SafetensorsFile::open(path)) : print_hdf5(path);
  } else if (std::filesystem::exists(path / storage::Manifest::kFileName)) {
    for (const storage::ManifestSlice& slice : storage::read_manifest(path).arrays) {
      print_array(slice.name, slice.dtype, slice.shape);
    }
  } else if (std::filesystem::exists(path / "adapter_config.json")) {
    print_safetensors(*storage::SafetensorsFile::open(path / "adapter_model.safetensors"));
  } else if (std::filesystem::exists(path / "lora" / "lora.safetensors")) {
    print_safetensors(*storage::SafetensorsFile::open(path / "lora" / "lora.safetensors"));
  } else if (std::filesystem::exists(path / "config.json")) {
    const storage::SafetensorsSet set = storage::SafetensorsSet::open_folder(path);
    for (const auto& file : set.files()) {
      print_safetensors(*file);
    }
  }
}

void print_inspection(const std::filesystem::path& path, const Inspection& inspection) {
  fmt::print("{}: {}\n", path.string(), inspection.title);
  std::size_t width = 0;
  for (const auto& [name, value] : inspection.facts) {
    width = std::max(width, name.size());
  }
  for (const auto& [name, value] : inspection.facts) {
    fmt::print("  {:<{}}  {}\n", name, width, value);
  }
  for (const std::string& line : inspection.lines) {
    fmt::print("  {}\n", line);
  }
}

/// How a folder is known: by a file in it.
struct FolderKind {
  const char* mark;
  Inspection (*inspect)(const std::filesystem::path&);
};
constexpr FolderKind kFolders[] = {
    {"manifest.json", inspect_checkpoint}, {"config.json", inspect_model}, {"metrics.jsonl", inspect_run}};

/// Whether `path` is an adapter; then it is told.
bool inspected_as_adapter(const Options& options) {
  const std::string form = adapter_form(options.path);
  if (form.empty()) {
    return false;
  }
  const AdapterReport report = report_adapter(options.path, form);
  if (options.json) {
    fmt::print("{}", to_json(report));
  } else {
    print_inspection(options.path, describe(report));
  }
  return true;
}

void inspect_folder(const std::filesystem::path& folder) {
  for (const FolderKind& kind : kFolders) {
    if (std::filesystem::exists(folder / kind.mark)) {
      print_inspection(folder, kind.inspect(folder));
      return;
    }
  }
  fail(Fault::kUsage,
       "{}: neither a model (config.json), an adapter (adapter_config.json), a checkpoint (manifest.json) nor a run "
       "(metrics.jsonl)",
       folder.string());
}

int inspect_path(const Options& options) {
  const std::filesystem::path path = options.path;
  require(std::filesystem::exists(path), Fault::kUsage, "{}: no such file or folder", path.string());
  const std::string extension = path.extension().string();
  const bool hdf5 = extension == ".h5" || extension == ".hdf5";
  const bool adapter = inspected_as_adapter(options);
  require(adapter || !options.json, Fault::kUsage, "{} is no adapter, of which alone --json tells; leave it out",
          path.string());
  const bool bare = !adapter && extension == ".safetensors";
  if (!adapter) {
    if (std::filesystem::is_directory(path)) {
      inspect_folder(path);
    } else if (hdf5 && data::is_token_set(path)) {
      print_inspection(path, inspect_token_set(path));
    } else if (hdf5 || bare) {
      print_arrays(path);
      return 0;
    } else {
      fail(Fault::kUsage, "{}: of no known kind; name a .safetensors or .h5 file, a checkpoint, an adapter or a model",
           path.string());
    }
  }
  if (options.arrays && !options.json) {
    print_arrays(path);
  }
  return 0;
}

Action declare(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  app.add_option("PATH", options->path,
                 "A .safetensors or .h5 file, or the folder of a model, an adapter, a checkpoint or a run.")
      ->required();
  app.add_flag("--arrays", options->arrays, "Also list every array with its dtype and shape.");
  app.add_flag("--json", options->json, "An adapter as one JSON object, for a script.");
  return [options] { return inspect_path(*options); };
}

}  // namespace

Command inspect() {
  return {"inspect", "Tells what a file or a folder is and holds; of an adapter also which programs compute it.",
          "dormer inspect runs/quickstart/export/peft\n  "
          "dormer inspect downloaded/style.safetensors --json",
          declare};
}

}  // namespace dormer::cli::commands
