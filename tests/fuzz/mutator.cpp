#include "fuzz/mutator.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>

namespace dormer::fuzz {
namespace {

const std::vector<std::uint64_t> kNumbers{0,
                                          1,
                                          2,
                                          7,
                                          0x7F,
                                          0x80,
                                          0xFF,
                                          0x7FFF,
                                          0xFFFF,
                                          0x10000,
                                          0x7FFFFFFF,
                                          0x80000000,
                                          0xFFFFFFFF,
                                          0x100000000,
                                          std::uint64_t{1} << 40,
                                          std::uint64_t{1} << 62,
                                          0x7FFFFFFFFFFFFFFF,
                                          0x8000000000000000,
                                          ~std::uint64_t{0}};

void overwrite_number(Random& random, std::string& bytes) {
  const std::size_t width = std::size_t{1} << random.below(4);
  if (bytes.size() < width) {
    return;
  }
  std::uint64_t number = random.of(kNumbers) + random.below(3) - 1;
  number = random.one_in(4) ? __builtin_bswap64(number) : number;
  std::memcpy(bytes.data() + random.below(bytes.size() - width + 1), &number, width);
}

/// Replaces a run of digits.
void change_digits(Random& random, std::string& bytes) {
  const auto digit = [](char letter) { return letter >= '0' && letter <= '9'; };
  const auto from = bytes.begin() + static_cast<std::ptrdiff_t>(random.below(bytes.size()));
  const auto begin = std::find_if(from, bytes.end(), digit);
  const auto end = std::find_if_not(begin, bytes.end(), digit);
  if (begin != end) {
    const auto place = static_cast<std::size_t>(begin - bytes.begin());
    const auto count = static_cast<std::size_t>(end - begin);
    const std::string number =
        random.one_in(2) ? std::to_string(random.of(kNumbers)) : std::to_string(random.below(40));
    bytes.replace(place, count, number);
  }
}

void repeat_chunk(Random& random, std::string& bytes) {
  const std::size_t place = random.below(bytes.size());
  const std::string chunk = bytes.substr(place, 1 + random.below(48));
  const std::size_t times = random.one_in(20) ? 20'000 : 1 + random.below(40);
  std::string repeated;
  for (std::size_t time = 0; time < times; ++time) {
    repeated += chunk;
  }
  bytes.insert(place, repeated);
}

void splice(Random& random, std::string& bytes, const std::string& other) {
  const std::string chunk = other.substr(random.below(other.size()), 1 + random.below(256));
  const std::size_t place = random.below(bytes.size());
  bytes.replace(place, random.one_in(2) ? 0 : chunk.size(), chunk);
}

}  // namespace

std::string nested(Random& random, const std::string& open, const std::string& close) {
  const std::size_t levels = random.of(std::vector<std::size_t>{3, 62, 66, 500, 5'000, 100'000});
  std::string text;
  for (std::size_t level = 0; level < levels; ++level) {
    text += open;
  }
  for (std::size_t level = 0; level < levels && !close.empty(); ++level) {
    text += close;
  }
  return text;
}

void mutate_bytes(Random& random, std::string& bytes, const std::vector<std::string>& words, const std::string& other) {
  if (bytes.empty()) {
    bytes = random.of(words);
    return;
  }
  const std::size_t place = random.below(bytes.size());
  switch (random.below(11)) {
    case 0:
      bytes[place] = static_cast<char>(bytes[place] ^ (1 << random.below(8)));
      break;
    case 1:
      bytes[place] = static_cast<char>(random.word());
      break;
    case 2:
    case 3:
      overwrite_number(random, bytes);
      break;
    case 4:
      bytes.insert(place, random.of(words));
      break;
    case 5:
      bytes.replace(place, std::min(random.of(words).size(), bytes.size() - place), random.of(words));
      break;
    case 6:
      bytes.erase(place, 1 + random.below(random.one_in(4) ? bytes.size() : 16));
      break;
    case 7:
      bytes.resize(random.one_in(2) ? place : bytes.size() + random.below(4'096));
      break;
    case 8:
      repeat_chunk(random, bytes);
      break;
    case 9:
      splice(random, bytes, other.empty() ? bytes : other);
      break;
    default:
      change_digits(random, bytes);
      break;
  }
}

Files mutated(Random& random, const Reader& reader, const Material& material) {
  Files files = random.of(material.seeds);
  const Files& others = random.of(material.seeds);
  const std::size_t changes = 1 + random.below(4);
  for (std::size_t change = 0; change < changes; ++change) {
    const auto file = std::next(files.begin(), static_cast<std::ptrdiff_t>(random.below(files.size())));
    const auto other = std::next(others.begin(), static_cast<std::ptrdiff_t>(random.below(others.size())));
    std::string& bytes = file->second;
    if (file->first.ends_with(".json") && !random.one_in(3)) {
      mutate_json(random, bytes, material.words);
    } else if (file->first.ends_with(".safetensors") && !random.one_in(4)) {
      mutate_tensors(random, bytes, material.words);
    } else if (random.one_in(40)) {
      const bool yaml = random.one_in(2);
      bytes.insert(random.below(bytes.size()), nested(random,
                                                      yaml               ? "- "
                                                      : random.one_in(2) ? "["
                                                                         : "{\"a\":",
                                                      random.one_in(2) ? "]" : ""));
    } else {
      mutate_bytes(random, bytes, material.words, other->second);
    }
    if (bytes.size() > kLargestInput) {
      bytes.resize(kLargestInput);
    }
  }
  if (reader.repair && !random.one_in(8)) {
    reader.repair(files);
  }
  return files;
}

}  // namespace dormer::fuzz
