#include "dormer/interop/adapter_format.hpp"

#include <fmt/ranges.h>

#include "dormer/core/error.hpp"
#include "dormer/interop/adapter_values.hpp"
#include "dormer/model/model_folder.hpp"

namespace dormer::interop {

BaseFacts facts_of(std::span<const adapter::FrozenLayer> layers, const std::filesystem::path& folder) {
  BaseFacts facts{.hub_id = model::hub_id_of(folder), .folder = folder, .linear_layers = {}, .layers = layers};
  for (const adapter::FrozenLayer& layer : layers) {
    facts.linear_layers.push_back(layer.site.name);
  }
  return facts;
}

std::string format_of(const std::filesystem::path& source) {
  std::error_code code;
  require(std::filesystem::exists(source, code), Fault::kInput, "adapter not found: {}; check the path",
          source.string());
  const Registry<AdapterFormat> formats = adapter_formats();
  for (const auto& [name, format] : formats.entries()) {
    if (format.recognizes(source)) {
      return name;
    }
  }
  fail(Fault::kInput, "{} is an adapter of no form that we read; known: {}", source.string(),
       fmt::join(formats.names(), ", "));
}

StoredAdapter read_adapter(const std::filesystem::path& source, const ReadOptions& options) {
  return adapter_formats().get("form of adapter files", format_of(source)).read(source, options);
}

void load_adapter_into(adapter::AdapterSet& adapters, const std::filesystem::path& source) {
  load_into(adapters, read_adapter(source), source.string());
}

}  // namespace dormer::interop
