#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include "cli/command.hpp"
#include "dormer/core/error.hpp"
#include "dormer/storage/checkpoint.hpp"
#include "dormer/storage/hdf5.hpp"
#include "dormer/storage/safetensors.hpp"

namespace dormer::cli::commands {
namespace {

constexpr const char* kAdapterFile = "adapter_model.safetensors";

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
  const storage::Hdf5Reader file = storage::Hdf5Reader::open(path, "an HDF5 file");
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

void print_checkpoint(const std::filesystem::path& folder) {
  const storage::Manifest manifest = storage::read_manifest(folder);
  fmt::print("{}: checkpoint of update {}, {} files\n", folder.string(), manifest.step, manifest.files.size());
  for (const storage::ManifestSlice& slice : manifest.arrays) {
    print_array(slice.name, slice.dtype, slice.shape);
  }
  fmt::print("  state {}\n", manifest.state);
}

void print_folder(const std::filesystem::path& folder) {
  if (std::filesystem::exists(folder / storage::Manifest::kFileName)) {
    print_checkpoint(folder);
  } else if (std::filesystem::exists(folder / kAdapterFile)) {
    print_safetensors(*storage::SafetensorsFile::open(folder / kAdapterFile));
  } else {
    const storage::SafetensorsSet set = storage::SafetensorsSet::open_folder(folder);
    for (const auto& file : set.files()) {
      print_safetensors(*file);
    }
  }
}

int inspect_path(const std::filesystem::path& path) {
  require(std::filesystem::exists(path), Fault::kUsage, "{}: no such file or folder", path.string());
  const std::string extension = path.extension().string();
  if (std::filesystem::is_directory(path)) {
    print_folder(path);
  } else if (extension == ".h5" || extension == ".hdf5") {
    print_hdf5(path);
  } else if (extension == ".safetensors") {
    print_safetensors(*storage::SafetensorsFile::open(path));
  } else {
    fail(Fault::kUsage, "{}: of no known kind; name a .safetensors or .h5 file, a checkpoint, an adapter or a model",
         path.string());
  }
  return 0;
}

Action declare(CLI::App& app) {
  const auto path = std::make_shared<std::string>();
  app.add_option("PATH", *path, "A .safetensors or .h5 file, or the folder of a checkpoint, an adapter or a model.")
      ->required();
  return [path] { return inspect_path(*path); };
}

}  // namespace

Command inspect() {
  return {"inspect", "Lists what a file or a folder holds.", "dormer inspect runs/quickstart/export/peft", declare};
}

}  // namespace dormer::cli::commands
