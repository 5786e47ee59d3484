// Lets Python see our files and us see Python's; for peers_test.py.
//   peer_files write FOLDER          every crafted header with its verdict, a safetensors file, a checkpoint
//   peer_files read FILE ARRAY [BEGIN END]   prints dtype, shape and bytes of an HDF5 array
#include <array>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include <fmt/ranges.h>

#include "dormer/core/error.hpp"
#include "dormer/storage/checkpoint.hpp"
#include "dormer/storage/hdf5.hpp"
#include "dormer/storage/safetensors.hpp"
#include "storage/hostile_headers.hpp"

namespace dormer::storage {
namespace {

bool accepts(const std::string& bytes) {
  try {
    return parse_safetensors(std::as_bytes(std::span(bytes)), "crafted").data_begin > 0;
  } catch (const Error&) {
    return false;
  }
}

void write_all(const std::filesystem::path& folder) {
  std::ofstream verdicts(folder / "verdicts.tsv");
  int number = 0;
  for (const CraftedFile& crafted : crafted_files()) {
    const std::string file = fmt::format("crafted-{}", number++);
    std::ofstream(folder / file, std::ios::binary) << crafted.bytes;
    verdicts << fmt::format("{}\t{}\t{:d}\t{:d}\n", file, crafted.name, accepts(crafted.bytes),
                            crafted.accepted_by_reference);
  }
  std::array<std::byte, 48> data{};
  for (std::size_t place = 0; place < data.size(); ++place) {
    data.at(place) = static_cast<std::byte>(place * 5 + 1);
  }
  const std::span<const std::byte> bytes(data);
  const std::vector<NamedArray> arrays{{"b.half", DType::kBF16, {2, 3}, bytes.first(12)},
                                       {"f16", DType::kF16, {3}, bytes.first(6)},
                                       {"a.single \"ü\"", DType::kF32, {3, 4}, bytes},
                                       {"double", DType::kF64, {2}, bytes.first(16)},
                                       {"flag", DType::kBool, {1}, bytes.first(1)},
                                       {"tiny", DType::kF8E4M3, {4}, bytes.first(4)},
                                       {"i64", DType::kI64, {}, bytes.first(8)},
                                       {"u64", DType::kU64, {1}, bytes.first(8)},
                                       {"u16", DType::kU16, {2}, bytes.first(4)},
                                       {"i16", DType::kI16, {2}, bytes.first(4)},
                                       {"u32", DType::kU32, {1}, bytes.first(4)},
                                       {"i32", DType::kI32, {1}, bytes.first(4)},
                                       {"u8", DType::kU8, {3}, bytes.first(3)},
                                       {"i8", DType::kI8, {3}, bytes.first(3)},
                                       {"none", DType::kF32, {0, 4}, {}}};
  write_safetensors(folder / "written.safetensors", arrays, {{"format", "pt"}});
  write_checkpoint(folder, 40, arrays, R"({"epoch":1})");
}

void read_array(const std::vector<std::string>& arguments) {
  const Hdf5Reader reader = Hdf5Reader::open(arguments.at(1), "data set");
  const Hdf5Array* array = reader.find(arguments.at(2));
  require(array != nullptr, Fault::kInput, "no array {}", arguments.at(2));
  std::vector<std::byte> bytes;
  if (arguments.size() == 5) {
    const std::int64_t begin = std::stoll(arguments.at(3));
    const std::int64_t end = std::stoll(arguments.at(4));
    bytes.resize(static_cast<std::size_t>(end - begin) * size_of(array->dtype));
    reader.read_range(*array, begin, end, bytes);
  } else {
    bytes.resize(static_cast<std::size_t>(array->count()) * size_of(array->dtype));
    reader.read(*array, bytes);
  }
  fmt::print("{} [{}] ", safetensors_name(array->dtype), fmt::join(array->shape, ","));
  for (const std::byte byte : bytes) {
    fmt::print("{:02x}", std::to_integer<unsigned>(byte));
  }
  fmt::print("\n{}\n", reader.string_attribute("note").value_or("-"));
}

}  // namespace
}  // namespace dormer::storage

int main(int count, char** values) {
  const std::vector<std::string> arguments(values + 1, values + count);
  try {
    if (arguments.at(0) == "write") {
      dormer::storage::write_all(arguments.at(1));
    } else {
      dormer::storage::read_array(arguments);
    }
  } catch (const dormer::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return error.exit_code();
  }
  return 0;
}
