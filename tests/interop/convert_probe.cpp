// convert_probe SOURCE FORM TARGET: reads an adapter of any form and writes it in another; for tests/peers.
#include <cstdio>
#include <string>

#include <fmt/format.h>

#include "dormer/core/error.hpp"
#include "dormer/interop/adapter_format.hpp"

namespace {

void convert(const std::string& source, const std::string& form, const std::string& target) {
  const dormer::interop::StoredAdapter adapter = dormer::interop::read_adapter(source);
  for (const std::string& warning : adapter.warnings) {
    fmt::print("{}\n", warning);
  }
  const dormer::interop::BaseFacts base;
  dormer::interop::adapter_formats().get("form", form).write(adapter, target, {.base = base});
}

}  // namespace

int main(int count, char** values) {
  if (count != 4) {
    return 2;
  }
  try {
    convert(values[1], values[2], values[3]);
  } catch (const dormer::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return error.exit_code();
  }
  return 0;
}
