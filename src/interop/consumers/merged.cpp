#include "dormer/interop/consumer.hpp"

namespace dormer::interop::consumers {

Consumer merged() {
  return {.doc = "The model with the adapter merged into its weights: a Hugging Face folder that needs no adapter.",
          .format = "",
          .axes = {"output", "input"},
          .added_tokens = true,
          .biases = true};
}

}  // namespace dormer::interop::consumers
