// peft_round_trip MODEL ADAPTER OUT: loads a PEFT folder into a set of adapters and exports it again; for
// peers_test.py.
#include <cstdio>
#include <string>

#include <fmt/format.h>

#include "dormer/core/error.hpp"
#include "dormer/interop/adapter_values.hpp"
#include "dormer/interop/peft.hpp"
#include "dormer/model/language_model.hpp"

namespace {

void round_trip(const std::string& model_folder, const std::string& source, const std::string& target) {
  const auto model = dormer::model::load_language_model(model_folder, dormer::DType::kF32);
  const dormer::interop::StoredAdapter file = dormer::interop::read_peft(source);
  dormer::adapter::AdapterSet adapters(dormer::interop::adapter_config_of(file, source), model->layers(),
                                       dormer::RandomKey{1});
  dormer::interop::load_into(adapters, file, source);
  const dormer::interop::BaseFacts facts = dormer::interop::facts_of(model->layers(), model_folder);
  dormer::interop::write_peft(dormer::interop::stored_from(adapters, facts), target, {.base = facts});
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
