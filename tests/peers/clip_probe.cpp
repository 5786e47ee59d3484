// What the peer tests ask of the tokenizer:
//   clip_probe FOLDER TEXTS.json [ROUNDS]
//   clip_probe --unicode
// TEXTS.json is a list of texts. Prints a line of ids for each after the ids of begin, end and padding and the largest
// length, and, with ROUNDS, to the error output the texts a second of the first and of the best round. --unicode tells
// the version that utf8proc knows.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <limits>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <utf8proc.h>
#include <nlohmann/json.hpp>

#include "dormer/core/atomic_file.hpp"
#include "dormer/data/clip_tokenizer.hpp"

namespace dormer::data {
namespace {

double seconds_of(const ClipTokenizer& tokenizer, const std::vector<std::string>& texts) {
  const auto begin = std::chrono::steady_clock::now();
  for (const std::string& text : texts) {
    static_cast<void>(tokenizer.encode(text));
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void answer(const std::string& folder, const std::string& file, int rounds) {
  const ClipTokenizer tokenizer = ClipTokenizer::open(folder);
  const auto texts = nlohmann::json::parse(read_file(file, "texts")).get<std::vector<std::string>>();
  double first = 0.0;
  double best = std::numeric_limits<double>::infinity();
  for (int round = 0; round < rounds; ++round) {
    const double seconds = seconds_of(tokenizer, texts);
    first = round == 0 ? seconds : first;
    best = std::min(best, seconds);
  }
  if (rounds > 0) {
    const auto count = static_cast<double>(texts.size());
    fmt::print(stderr, "{:.0f} texts/s in the first round, {:.0f} in the best\n", count / first, count / best);
  }
  fmt::print("{} {} {} {}\n", tokenizer.begin_token(), tokenizer.end_token(), tokenizer.pad_token(),
             tokenizer.maximum_length());
  for (const std::string& text : texts) {
    fmt::print("{}\n", fmt::join(tokenizer.encode(text), " "));
  }
}

}  // namespace
}  // namespace dormer::data

int main(int count, char** words) {
  try {
    if (count == 2 && std::string(words[1]) == "--unicode") {
      fmt::print("{}", utf8proc_unicode_version());
      return 0;
    }
    if (count != 3 && count != 4) {
      fmt::print(stderr, "clip_probe FOLDER TEXTS.json [ROUNDS]\n");
      return 2;
    }
    dormer::data::answer(words[1], words[2], count == 4 ? std::stoi(words[3]) : 0);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
