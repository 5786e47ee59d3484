#include <filesystem>
#include <system_error>

#include <dlfcn.h>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/log.hpp"
#include "dormer/report/report.hpp"

namespace dormer::report {

// Found from where this code lies, as the program finds its library: lib/libdormer.so and share/dormer/ are neighbours.
std::string plotly_bundle() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&plotly_bundle), &info) == 0 || info.dli_fname == nullptr) {
    return {};
  }
  std::error_code ignored;
  const std::filesystem::path library = std::filesystem::canonical(info.dli_fname, ignored);
  const std::filesystem::path file = library.parent_path().parent_path() / "share" / "dormer" / "plotly.min.js";
  if (!std::filesystem::exists(file, ignored)) {
    return {};
  }
  std::string text = read_file(file, "Plotly's bundle");
  if (text.find("</script") != std::string::npos) {
    log::warn("{} cannot stand inside of a page: the plots are still pictures", file.string());
    return {};
  }
  return text;
}

}  // namespace dormer::report
