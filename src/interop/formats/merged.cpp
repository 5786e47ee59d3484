#include "dormer/interop/merged.hpp"

#include "dormer/core/error.hpp"

namespace dormer::interop::formats {

AdapterFormat merged() {
  return {.doc = "The model with the adapter merged into its weights: a Hugging Face folder that needs no adapter.",
          .axes = {"output", "input"},
          .added_tokens = true,
          .write = write_merged,
          .recognizes = [](const std::filesystem::path& /*source*/) { return false; },  // it is a model, not an adapter
          .load =
              [](adapter::AdapterSet& /*adapters*/, const std::filesystem::path& source) {
                fail(Fault::kUsage, "{} is a whole model; name it as model.path", source.string());
              }};
}

}  // namespace dormer::interop::formats
