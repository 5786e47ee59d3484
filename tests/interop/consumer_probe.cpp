// What the peer tests ask of an adapter's file:
//   consumer_probe SOURCE CONSUMER TARGET [DTYPE]
// reads SOURCE, whatever its form, and writes it for a program. Exit code and message are those of the errors.

#include <cstdio>
#include <string>

#include "dormer/core/dtype.hpp"
#include "dormer/core/error.hpp"
#include "dormer/interop/consumer.hpp"

namespace dormer {
namespace {

void convert(const std::string& source, const std::string& name, const std::string& target, const std::string& dtype) {
  const interop::StoredAdapter adapter = interop::read_adapter(source);
  const interop::BaseFacts base;
  interop::write_for(name, interop::consumer_registry().get("consumer", name), adapter, target,
                     {.base = base, .dtype = dtype_from_name(dtype).value()});
}

}  // namespace
}  // namespace dormer

int main(int count, char** words) {
  if (count != 4 && count != 5) {
    std::fputs("usage: consumer_probe SOURCE CONSUMER TARGET [DTYPE]\n", stderr);
    return 2;
  }
  try {
    dormer::convert(words[1], words[2], words[3], count == 5 ? words[4] : "float32");
  } catch (const dormer::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.exit_code();
  }
  return 0;
}
