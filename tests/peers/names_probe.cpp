// What the peer tests ask about names of layers:
//   names_probe FAMILY NAMING < LINES
// FAMILY is sd1, sdxl, sd3 or flux; NAMING, native or hugging_face, is the one to go over to. Every line of the input
// is a layer "NAME COLUMNS ROW…", its rows told by numbers; so is every line of the output, under the other naming.

#include <cstdio>
#include <exception>
#include <iostream>
#include <map>
#include <sstream>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "interop/layer_names.hpp"

namespace dormer::interop {
namespace {

/// The rows stand in lora_B; all layers have one lora_A, so that fused ones share it and keep their rank of 1.
StoredLayer layer_of(std::int64_t columns, const std::vector<float>& rows) {
  StoredLayer layer{.kind = "lora", .rank = 1, .alpha = {}};
  layer.factors["lora_A"] = {.shape = {1, columns},
                             .values = std::vector<float>(static_cast<std::size_t>(columns), 1.0F)};
  layer.factors["lora_B"] = {.shape = {static_cast<std::int64_t>(rows.size()), 1}, .values = rows};
  return layer;
}

void answer(const std::string& family_word, const std::string& naming_word) {
  const std::map<std::string, ModelFamily> families{{"sd1", ModelFamily::kSd1},
                                                    {"sdxl", ModelFamily::kSdxl},
                                                    {"sd3", ModelFamily::kSd3},
                                                    {"flux", ModelFamily::kFlux}};
  const bool native = naming_word == "native";
  StoredAdapter adapter{.family = families.at(family_word), .naming = native ? Naming::kHuggingFace : Naming::kNative};
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string name;
    std::int64_t columns = 0;
    words >> name >> columns;
    std::vector<float> rows;
    for (float row = 0.0F; words >> row;) {
      rows.push_back(row);
    }
    adapter.layers[name] = layer_of(columns, rows);
  }
  for (const auto& [name, layer] : renamed(adapter, native ? Naming::kNative : Naming::kHuggingFace).layers) {
    fmt::print("{} {} {}\n", name, layer.factors.at("lora_A").shape.at(1),
               fmt::join(layer.factors.at("lora_B").values, " "));
  }
}

}  // namespace
}  // namespace dormer::interop

int main(int count, char** words) {
  try {
    if (count != 3) {
      fmt::print(stderr, "names_probe FAMILY NAMING\n");
      return 2;
    }
    dormer::interop::answer(words[1], words[2]);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
