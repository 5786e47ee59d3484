#include "dormer/interop/diffusers.hpp"
#include "dormer/core/error.hpp"
#include "dormer/interop/consumer.hpp"

namespace dormer::interop::consumers {
namespace {

/// Of text encoders, diffusers 0.42 computes plain changes as the factors say, decomposed ones otherwise.
void require_plain_encoders(const StoredAdapter& adapter) {
  for (const auto& [name, layer] : adapter.layers) {
    require(!layer.axis || !name.starts_with("text_encoder"), Fault::kUsage,
            "diffusers does not compute decomposed layers of text encoders as trained, and '{}' is one; write merged "
            "weights (export for merged)",
            name);
  }
  require_diffusers(adapter);
}

}  // namespace

Consumer diffusers() {
  return {.doc = "Hugging Face diffusers: a file for load_lora_weights.",
          .format = "diffusers",
          .axes = {"output"},
          .kinds = {"lora", "locon"},
          .families = {ModelFamily::kSd1, ModelFamily::kSdxl, ModelFamily::kSd3, ModelFamily::kFlux},
          .check = require_plain_encoders};
}

}  // namespace dormer::interop::consumers
