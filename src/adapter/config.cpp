#include "dormer/adapter/config.hpp"

#include "dormer/adapter/kinds.hpp"
#include "dormer/core/error.hpp"

namespace dormer::adapter {

void DecomposeConfig::describe(config::Visitor& visitor) {
  visitor.field("axis", axis,
                {.doc = "Which norms the magnitudes stand for: one for every output row, or what the exports need.",
                 .choices = {"auto", "output"}});
}

void OverrideConfig::describe(config::Visitor& visitor) {
  visitor.field("match", match, {.doc = "Pattern over site names. Not available yet: leave the list empty."});
}

void AdapterConfig::describe(config::Visitor& visitor) {
  visitor.field("kind", kind, {.doc = "Form of the trained change.", .choices = adapter_kinds().names()});
  visitor.field("rank", rank, {.doc = "Inner width of the low-rank change.", .min = 1, .max = 4096});
  visitor.field("alpha", alpha,
                {.doc = "The change is scaled by alpha / rank; a number or an expression such as 2*rank. null: rank."});
  visitor.field("rank_stabilized", rank_stabilized, {.doc = "Scale by alpha / sqrt(rank). Not available yet: false."});
  visitor.optional_group("decompose", decompose, "DoRA: magnitude and direction apart. null: the plain kind.");
  visitor.field("targets", targets,
                {.doc = "Layers that get an adapter: all-linear, attention, attention-mlp, or patterns over names such "
                        "as q_proj or *.layers.3.*."});
  visitor.field("init_from", init_from, {.doc = "Folder of an adapter in PEFT's form to start from."});
  visitor.list("overrides", overrides, "Layers that differ from the rest. Not available yet: leave it empty.");
}

double AdapterConfig::alpha_value() const {
  const auto width = static_cast<double>(rank);
  return alpha.absent() ? width : alpha.evaluate({{"rank", width}, {"adapter.rank", width}});
}

double AdapterConfig::scale() const {
  return alpha_value() / static_cast<double>(rank);
}

}  // namespace dormer::adapter
