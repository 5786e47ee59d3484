#include "storage/hostile_headers.hpp"

#include <cstdint>
#include <utility>

namespace dormer::storage {
namespace {

std::string prefix(std::uint64_t length) {
  std::string bytes;
  for (int byte = 0; byte < 8; ++byte) {
    bytes += static_cast<char>((length >> (8 * byte)) & 0xFF);
  }
  return bytes;
}

std::string file(const std::string& header, std::size_t data_bytes) {
  return prefix(header.size()) + header + std::string(data_bytes, '\x01');
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":[)" + shape + R"(],"data_offsets":[)" + offsets + "]}";
}

std::string nested(int levels) {
  std::string text;
  for (int level = 0; level < levels; ++level) {
    text += R"({"a":)";
  }
  return text + "1" + std::string(static_cast<std::size_t>(levels), '}');
}

class Table {
 public:
  void rejected(std::string name, std::string bytes) {
    files_.push_back({std::move(name), std::move(bytes), false, false, ""});
  }
  void accepted(std::string name, std::string bytes) {
    files_.push_back({std::move(name), std::move(bytes), true, true, ""});
  }
  void stricter(std::string name, std::string bytes, std::string why) {
    files_.push_back({std::move(name), std::move(bytes), false, true, std::move(why)});
  }
  std::vector<CraftedFile> take() { return std::move(files_); }

 private:
  std::vector<CraftedFile> files_;
};

void add_framing(Table& table) {
  table.rejected("empty file", "");
  table.rejected("seven bytes", std::string(7, '\0'));
  table.rejected("length only, zero", prefix(0));
  table.rejected("length above the limit", prefix(100'000'001) + "{}");
  table.rejected("length above the file", prefix(100) + "{}");
  table.rejected("length near 2^64, whose sum with 8 wraps", prefix(~std::uint64_t{0} - 3) + "{}");
  table.rejected("length of the whole file", prefix(10) + "{}");
  table.accepted("no tensor", file("{}", 0));
  table.rejected("no tensor, but data", file("{}", 4));
  table.accepted("one tensor", file("{" + entry("a", "F32", "2", "0,8") + "}", 8));
}

void add_text(Table& table) {
  const std::string good = "{" + entry("a", "U8", "4", "0,4") + "}";
  table.rejected("invalid UTF-8", file("{" + entry("\xFF\xFE", "U8", "4", "0,4") + "}", 4));
  table.rejected("byte order mark", file("\xEF\xBB\xBF" + good, 4));
  table.rejected("an array for an object", file("[1,2,3]", 0));
  table.rejected("a string for an object", file("\"abc\"", 0));
  table.rejected("text behind the object", file(good + "x", 4));
  table.rejected("NUL bytes behind the object", file(good + std::string(3, '\0'), 4));
  table.rejected("cut in the middle", file(good.substr(0, 20), 4));
  table.rejected("nesting of 200 levels", file(R"({"a":)" + nested(200) + "}", 0));
  table.stricter("leading space", file(" " + good, 4), "the written format says that the header begins with '{'");
  table.accepted("trailing spaces", file(good + "   ", 4));
  table.accepted("trailing tab and newline", file(good + "\t\n", 4));
  table.accepted("length that is no multiple of 8", file(good + std::string(1 + good.size() % 2, ' '), 4));
}

void add_offsets(Table& table) {
  const auto one = [](const std::string& offsets, std::size_t data) {
    return file("{" + entry("a", "U8", "4", offsets) + "}", data);
  };
  table.rejected("data shorter than the last end", one("0,4", 3));
  table.rejected("data longer than the last end", one("0,4", 5));
  table.rejected("first tensor not at 0", one("4,8", 8));
  table.rejected("end before begin", one("4,0", 4));
  table.rejected("negative offset", one("-4,0", 4));
  table.rejected("float offset", one("0,4.0", 4));
  table.rejected("offset above 2^64", one("0,18446744073709551620", 4));
  table.rejected("three offsets", one("0,4,4", 4));
  table.rejected("one offset", one("4", 4));
  table.rejected("hole between tensors",
                 file("{" + entry("a", "U8", "4", "0,4") + "," + entry("b", "U8", "4", "5,9") + "}", 9));
  table.rejected("overlap of tensors",
                 file("{" + entry("a", "U8", "4", "0,4") + "," + entry("b", "U8", "4", "2,6") + "}", 6));
  table.accepted("F32 at an odd offset",
                 file("{" + entry("a", "U8", "1", "0,1") + "," + entry("b", "F32", "1", "1,5") + "}", 5));
}

void add_shapes(Table& table) {
  const auto one = [](const std::string& dtype, const std::string& shape, const std::string& offsets,
                      std::size_t data) { return file("{" + entry("a", dtype, shape, offsets) + "}", data); };
  table.rejected("shape product overflows to 0", one("F32", "4294967296,4294967296", "0,0", 0));
  table.rejected("bytes overflow", one("F64", "2305843009213693952", "0,0", 0));
  table.rejected("size is not the span", one("F32", "3", "0,8", 8));
  table.rejected("negative dimension", one("U8", "-4", "0,4", 4));
  table.rejected("unknown dtype", one("Q4", "4", "0,4", 4));
  table.rejected("lower-case dtype", one("f32", "1", "0,4", 4));
  table.accepted("zero-size tensor", one("F32", "0,5", "0,0", 0));
  table.accepted("two zero-size tensors at one offset",
                 file("{" + entry("a", "F32", "0", "0,0") + "," + entry("b", "F32", "0", "0,0") + "}", 0));
  table.accepted("rank 0", one("F32", "", "0,4", 4));
  table.accepted("BOOL bytes other than 0 and 1", [] {
    std::string bytes = file("{" + entry("a", "BOOL", "2", "0,2") + "}", 2);
    bytes.back() = '\x07';
    return bytes;
  }());
  table.stricter("rank 17", one("U8", "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1", "0,1", 1), "nothing we hold has rank 17");
  table.stricter("empty, with dimensions whose product overflows",
                 one("U8", "0,4294967296,4294967296,4294967296", "0,0", 0), "strides would overflow");
  table.stricter("complex dtype", one("C64", "1", "0,8", 8), "no part of the program computes with it");
}

void add_fields(Table& table) {
  const std::string good = entry("a", "U8", "4", "0,4");
  table.rejected("missing dtype", file(R"({"a":{"shape":[4],"data_offsets":[0,4]}})", 4));
  table.rejected("missing shape", file(R"({"a":{"dtype":"U8","data_offsets":[0,4]}})", 4));
  table.rejected("missing offsets", file(R"({"a":{"dtype":"U8","shape":[4]}})", 4));
  table.rejected("duplicate field", file(R"({"a":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4));
  table.rejected("tensor that is a number", file(R"({"a":4})", 0));
  table.rejected("shape that is a number", file(R"({"a":{"dtype":"U8","shape":4,"data_offsets":[0,4]}})", 4));
  table.rejected("dtype that is null", file(R"({"a":{"dtype":null,"shape":[4],"data_offsets":[0,4]}})", 4));
  table.rejected("duplicate __metadata__", file(R"({"__metadata__":{},"__metadata__":{},)" + good + "}", 4));
  table.rejected("metadata value that is a number", file(R"({"__metadata__":{"k":1},)" + good + "}", 4));
  table.rejected("metadata that is a list", file(R"({"__metadata__":["k"],)" + good + "}", 4));
  table.accepted("metadata", file(R"({"__metadata__":{"format":"pt"},)" + good + "}", 4));
  table.accepted("metadata that is null", file(R"({"__metadata__":null,)" + good + "}", 4));
  table.accepted("unknown field", file(R"({"a":{"dtype":"U8","shape":[4],"x":[1,{}],"data_offsets":[0,4]}})", 4));
  table.accepted("empty name", file("{" + entry("", "U8", "4", "0,4") + "}", 4));
  table.stricter("NUL in a name", file("{" + entry("a\\u0000b", "U8", "4", "0,4") + "}", 4), "it would end a C string");
  table.stricter("name of 1025 bytes", file("{" + entry(std::string(1'025, 'n'), "U8", "4", "0,4") + "}", 4),
                 "messages and HDF5 paths carry names");
  table.stricter("duplicate tensor", file("{" + good + "," + good + "}", 4), "which of the two is meant is a guess");
  table.stricter("duplicate metadata key", file(R"({"__metadata__":{"k":"1","k":"2"},)" + good + "}", 4),
                 "which of the two is meant is a guess");
  table.stricter("unknown field, nested deep",
                 file(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"x":)" + nested(3) + "}}", 4),
                 "the header nests at most 4 levels");
}

}  // namespace

std::vector<CraftedFile> crafted_files() {
  Table table;
  add_framing(table);
  add_text(table);
  add_offsets(table);
  add_shapes(table);
  add_fields(table);
  return table.take();
}

}  // namespace dormer::storage
