#include "consumer_limits.hpp"

#include "dormer/core/error.hpp"

namespace dormer::interop {

void refuse_single_outputs(std::string_view program, const StoredAdapter& adapter) {
  for (const auto& [name, layer] : adapter.layers) {
    const bool mistaken = layer.axis == adapter::Axis::kInput && shape_of(name, layer).out == 1;
    require(
        !mistaken, Fault::kUsage,
        "'{}' has one output, so {} would take its input magnitudes for output ones; write merged weights (export for "
        "merged), or leave that layer out of the next training",
        name, program);
  }
}

void refuse_tucker(std::string_view program, const StoredAdapter& adapter) {
  for (const auto& [name, layer] : adapter.layers) {
    require(!layer.factors.contains("lora_mid"), Fault::kUsage,
            "'{}' has a Tucker middle, which {} does not compute; write merged weights (export for merged), or train "
            "without adapter.tucker the next time",
            name, program);
  }
}

void refuse_family(std::string_view program, const StoredAdapter& adapter, ModelFamily family,
                   std::string_view instead) {
  require(adapter.family != family, Fault::kUsage, "{} does not run {}; write it for {}", program, name_of(family),
          instead);
}

}  // namespace dormer::interop
