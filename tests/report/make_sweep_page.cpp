// Writes the page of a made-up sweep: make_sweep_page FILE POINTS [BUNDLE].

#include <charconv>
#include <cstring>
#include <iostream>

#include "dormer/core/atomic_file.hpp"
#include "sweep/made_sweep.hpp"

int main(int count, char** arguments) {
  std::int64_t points = 0;
  const bool number =
      count >= 3 && std::from_chars(arguments[2], arguments[2] + std::strlen(arguments[2]), points).ec == std::errc();
  if (!number) {
    std::cerr << "make_sweep_page FILE POINTS [BUNDLE]\n";
    return 2;
  }
  const std::string bundle = count > 3 ? dormer::read_file(arguments[3], "Plotly's bundle") : std::string();
  const std::string page = dormer::report::sweep_page(dormer::sweep::made_sweep(points).record(), bundle);
  dormer::write_file_atomically(arguments[1], std::string_view(page));
  return 0;
}
