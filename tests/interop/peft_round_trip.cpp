// peft_round_trip MODEL ADAPTER OUT: loads a PEFT folder into a set of adapters and exports it again; for
// peers_test.py.
#include <cstdio>
#include <string>

#include <fmt/format.h>

#include "dormer/core/error.hpp"
#include "dormer/interop/peft.hpp"
#include "dormer/model/language_model.hpp"

namespace {

void round_trip(const std::string& model_folder, const std::string& source, const std::string& target) {
  const auto model = dormer::model::load_language_model(model_folder, dormer::DType::kF32);
  const dormer::interop::PeftAdapter file = dormer::interop::read_peft(source);
  const dormer::interop::PeftLayer& first = file.layers.begin()->second;
  dormer::adapter::AdapterConfig config;
  config.rank = first.rank;
  config.alpha.text = fmt::format("{}", first.scale * static_cast<double>(first.rank));
  config.targets.clear();
  for (const auto& layer : file.layers) {
    config.targets.push_back(layer.first);
  }
  if (file.decompose) {
    config.decompose.emplace();
  }
  dormer::adapter::AdapterSet adapters(config, model->layers(), dormer::RandomKey{1});
  dormer::interop::load_adapter_into(adapters, source);
  const dormer::interop::BaseFacts facts = dormer::interop::facts_of(*model, model_folder);
  dormer::interop::adapter_formats().get("export.for", "peft").write(adapters, target, facts, dormer::DType::kF32);
}

}  // namespace

int main(int count, char** values) {
  if (count != 4) {
    return 2;
  }
  try {
    round_trip(values[1], values[2], values[3]);
  } catch (const dormer::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return error.exit_code();
  }
  return 0;
}
