#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "dormer/adapter/config.hpp"

/// KEY=VALUE words that say one layer and its adapter, for programs that tests and benchmarks start.
namespace dormer::tests {

inline constexpr const char* kLayerName = "layer";

class LayerKeys {
 public:
  LayerKeys(int count, char** words) {
    for (int i = 0; i < count; ++i) {
      const std::string word = words[i];
      values_[word.substr(0, word.find('='))] = word.substr(word.find('=') + 1);
    }
  }
  [[nodiscard]] std::string text(const std::string& key, const std::string& usual) const {
    const auto found = values_.find(key);
    return found == values_.end() ? usual : found->second;
  }
  [[nodiscard]] double number(const std::string& key, double usual) const {
    return values_.contains(key) ? std::stod(values_.at(key)) : usual;
  }
  [[nodiscard]] std::int64_t integer(const std::string& key, std::int64_t usual) const {
    return values_.contains(key) ? std::stoll(values_.at(key)) : usual;
  }
  [[nodiscard]] std::vector<std::int64_t> list(const std::string& key) const {
    std::vector<std::int64_t> numbers;
    for (std::string rest = text(key, ""); !rest.empty();) {
      numbers.push_back(std::stoll(rest));
      const std::size_t comma = rest.find(',');
      rest = comma == std::string::npos ? "" : rest.substr(comma + 1);
    }
    return numbers;
  }

 private:
  std::map<std::string, std::string> values_;
};

/// From kind, rank, alpha, rank_stabilized, axis (none, output, input), epsilon, norm_gradient, profile, dropout,
/// dropout_placement, rank_dropout, rank_dropout_scale, module_dropout, start, start_iterations, tucker, factor,
/// decompose_both and full_matrix; every layer whose name begins with kLayerName.
inline adapter::AdapterConfig adapter_config(const LayerKeys& keys) {
  adapter::AdapterConfig config;
  config.kind = keys.text("kind", "lora");
  config.rank = keys.integer("rank", 4);
  config.alpha.text = keys.text("alpha", "rank");
  config.rank_stabilized = keys.integer("rank_stabilized", 0) != 0;
  config.targets = {std::string(kLayerName) + "*"};
  if (const std::string profile = keys.text("profile", ""); !profile.empty()) {
    config.profile = profile;
  }
  config.dropout = keys.number("dropout", 0.0);
  if (const std::string placement = keys.text("dropout_placement", ""); !placement.empty()) {
    config.dropout_placement = placement;
  }
  config.rank_dropout = keys.number("rank_dropout", 0.0);
  config.rank_dropout_scale = keys.integer("rank_dropout_scale", 0) != 0;
  config.module_dropout = keys.number("module_dropout", 0.0);
  config.start = keys.text("start", "kaiming");
  config.start_iterations = keys.integer("start_iterations", config.start_iterations);
  config.tucker = keys.integer("tucker", 0) != 0;
  config.factor = keys.integer("factor", -1);
  config.decompose_both = keys.integer("decompose_both", 0) != 0;
  config.full_matrix = keys.integer("full_matrix", 0) != 0;
  if (const std::string axis = keys.text("axis", "none"); axis != "none") {
    config.decompose.emplace(adapter::DecomposeConfig{
        .axis = axis, .epsilon = keys.number("epsilon", 0.0), .norm_gradient = keys.integer("norm_gradient", 0) != 0});
  }
  return config;
}

}  // namespace dormer::tests
