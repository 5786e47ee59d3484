#include "dormer/data/image_module.hpp"

#include <cstdlib>
#include <string>
#include <string_view>

#include <dlfcn.h>

#include "dormer/core/error.hpp"

namespace dormer::data {
namespace {

std::string last_loader_error() {
  const char* text = dlerror();
  return text != nullptr ? text : "no reason given";
}

/// The module lies beside the library that holds this function.
std::filesystem::path module_path() {
  if (const char* named = std::getenv("DORMER_IMAGE_MODULE"); named != nullptr) {
    return named;
  }
  Dl_info info{};
  const bool known = dladdr(reinterpret_cast<const void*>(&image_build_id), &info) != 0 && info.dli_fname != nullptr;
  invariant(known, "the dynamic loader does not know where libdormer.so is");
  std::error_code ignored;
  const std::filesystem::path library = std::filesystem::canonical(info.dli_fname, ignored);
  return (ignored ? std::filesystem::path(info.dli_fname) : library).parent_path() / "libdormer_vips.so";
}

const ImageModule& load_module() {
  const std::filesystem::path path = module_path();
  std::error_code ignored;
  require(
      std::filesystem::exists(path, ignored), Fault::kUsage,
      "images cannot be read: there is no module {}; install libvips with its headers (apt-get install libvips-dev) "
      "and build again, or name the module in DORMER_IMAGE_MODULE",
      path.string());
  // Never closed: GLib's types cannot be taken back.
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  require(handle != nullptr, Fault::kUsage,
          "images cannot be read: {} cannot be loaded ({}); install libvips (apt-get install libvips42, or "
          "libvips42t64), or build again on this machine",
          path.string(), handle == nullptr ? last_loader_error() : "");
  void* symbol = dlsym(handle, kImageModuleSymbol);
  require(symbol != nullptr, Fault::kUsage,
          "{} is no image module of dormer ({}); name the right one in DORMER_IMAGE_MODULE", path.string(),
          symbol == nullptr ? last_loader_error() : "");
  const ImageModule* module = reinterpret_cast<ImageModuleFunction>(symbol)();
  require(std::string_view(module->build_id) == image_build_id(), Fault::kUsage,
          "the image module {} is of build {}, this program of build {}; build both from the same source",
          path.string(), module->build_id, image_build_id());
  return *module;
}

}  // namespace

const char* image_build_id() {
  return DORMER_IMAGE_BUILD_ID;
}

const ImageModule& image_module() {
  static const ImageModule& module = load_module();
  return module;
}

}  // namespace dormer::data
