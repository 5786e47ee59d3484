// fuzz_readers READER|all [--seconds N] [--executions N] [--seed S] [--corpus DIR] [--findings DIR]
// fuzz_readers READER --replay PATH
//
// Gives a reader of foreign files the inputs of its corpus, and then changed ones, for so long (10 s, shared among all
// readers with "all") or so often. The same seed gives the same inputs in the same order. Prints how many there were;
// at a finding it writes the input to DIR/READER-SEED-NUMBER and ends with 1. --replay reads one input, a file or a
// folder of files, and says what becomes of it.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/tensor/process.hpp"
#include "fuzz/mutator.hpp"
#include "fuzz/reader.hpp"
#include "fuzz/watch.hpp"
#include "support/temp_directory.hpp"

namespace dormer::fuzz {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

struct Options {
  std::string reader;
  double seconds = 10.0;
  std::size_t executions = std::numeric_limits<std::size_t>::max();
  std::uint64_t seed = 1;
  fs::path corpus = DORMER_CORPUS;
  fs::path findings = "findings";
  fs::path replay{};
};

Options read_options(const std::vector<std::string>& words) {
  require(!words.empty() && words.size() % 2 == 1, Fault::kUsage,
          "usage: fuzz_readers READER|all [--seconds N] [--executions N] [--seed S] [--corpus DIR] [--findings DIR] "
          "[--replay PATH]");
  Options options{.reader = words.front()};
  for (std::size_t index = 1; index < words.size(); index += 2) {
    const std::string& value = words[index + 1];
    if (words[index] == "--seconds") {
      options.seconds = std::stod(value);
    } else if (words[index] == "--executions") {
      options.executions = std::stoull(value);
      options.seconds = std::numeric_limits<double>::infinity();
    } else if (words[index] == "--seed") {
      options.seed = std::stoull(value);
    } else if (words[index] == "--corpus") {
      options.corpus = value;
    } else if (words[index] == "--findings") {
      options.findings = value;
    } else {
      require(words[index] == "--replay", Fault::kUsage, "unknown option {}", words[index]);
      options.replay = value;
    }
  }
  return options;
}

std::string bytes_of(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

/// A file alone, or all files of a folder.
Files input_at(const fs::path& path) {
  if (!fs::is_directory(path)) {
    return {{path.filename().string(), bytes_of(path)}};
  }
  Files files;
  for (const auto& entry : fs::directory_iterator(path)) {
    files[entry.path().filename().string()] = bytes_of(entry.path());
  }
  return files;
}

std::map<std::string, Files> seeds_in(const fs::path& corpus) {
  std::map<std::string, Files> seeds;
  for (const auto& entry : fs::directory_iterator(corpus)) {
    seeds.emplace(entry.path().filename().string(), input_at(entry.path()));
  }
  return seeds;
}

/// A line of a list of words, with the escapes of C that it may have: \n, \t, \\ and \xHH.
std::string unescaped(const std::string& line) {
  std::string word;
  for (std::size_t place = 0; place < line.size(); ++place) {
    const char letter = line[place];
    if (letter != '\\' || place + 1 == line.size()) {
      word += letter;
      continue;
    }
    const char escaped = line[++place];
    if (escaped == 'x') {
      word += static_cast<char>(std::stoi(line.substr(place + 1, 2), nullptr, 16));
      place += 2;
    } else {
      word += escaped == 'n' ? '\n' : escaped == 't' ? '\t' : escaped;
    }
  }
  return word;
}

std::vector<std::string> words_in(const std::vector<std::string>& lists) {
  std::vector<std::string> words;
  for (const std::string& list : lists) {
    std::ifstream stream(fs::path(DORMER_WORDS) / (list + ".txt"));
    for (std::string line; std::getline(stream, line);) {
      words.push_back(unescaped(line));
    }
  }
  require(!words.empty(), Fault::kInput, "no words in {}", DORMER_WORDS);
  return words;
}

class Fuzzing {
 public:
  Fuzzing(const Reader& reader, const Options& options)
      : reader_(reader), options_(options), watch_(options.findings), random_(options.seed) {}

  /// Whether all is well after so many seconds.
  bool run(double seconds) {
    const auto begin = Clock::now();
    const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - begin).count(); };
    Material material{.seeds = {}, .words = words_in(reader_.words)};
    for (auto& [name, files] : seeds_in(options_.corpus / reader_.name)) {
      if (reader_.repair) {
        reader_.repair(files);
      }
      material.seeds.push_back(files);
      if (!read(files) || !accepted_) {
        fmt::print("{}: the corpus's own {} is not accepted: {}\n", reader_.name, name, reason_);
        return false;
      }
    }
    while (executions_ < options_.executions && elapsed() < seconds) {
      if (!read(mutated(random_, reader_, material))) {
        return false;
      }
    }
    fmt::print("{}: {} executions, {} of them accepted, {:.1f} s, no finding\n", reader_.name, executions_, accepts_,
               elapsed());
    std::fflush(stdout);
    return true;
  }

  /// Reads one input; false at a finding, which is written and told.
  bool read(const Files& files) {
    ++executions_;
    const std::string name = fmt::format("{}-{}-{}", reader_.name, options_.seed, executions_);
    if (reader_.on_disk) {
      lay_out(files);
    }
    const std::string verdict = watch_.run(name, files, [&] { accepted_ = accepts(files); });
    accepts_ += accepted_ ? 1 : 0;
    if (!verdict.empty()) {
      fmt::print("finding of {}: {}\n  the input: {}\n", reader_.name, verdict, watch_.keep(name, files).string());
      std::fflush(stdout);
    }
    return verdict.empty();
  }

  [[nodiscard]] const std::string& reason() const { return reason_; }

 private:
  bool accepts(const Files& files) {
    accepted_ = false;
    try {
      reader_.read(folder_.path(), files);
      return true;
    } catch (const Error& error) {
      reason_ = error.what();
      throw;
    }
  }

  void lay_out(const Files& files) {
    for (const auto& entry : fs::directory_iterator(folder_.path())) {
      fs::remove_all(entry.path());
    }
    for (const auto& [name, bytes] : files) {
      std::ofstream(folder_.path() / name, std::ios::binary) << bytes;
    }
  }

  const Reader& reader_;
  const Options& options_;
  Watch watch_;
  Random random_;
  test::TempDirectory folder_;
  std::size_t executions_ = 0;
  std::size_t accepts_ = 0;
  bool accepted_ = false;
  std::string reason_{};
};

int run(const Options& options) {
  std::vector<Reader> chosen;
  std::vector<std::string> names;
  for (Reader& reader : readers()) {
    names.push_back(reader.name);
    if (options.reader == "all" || options.reader == reader.name) {
      chosen.push_back(std::move(reader));
    }
  }
  require(!chosen.empty(), Fault::kUsage, "no reader is called {}; there are {}", options.reader,
          fmt::join(names, ", "));
  for (const Reader& reader : chosen) {
    Fuzzing fuzzing(reader, options);
    if (!options.replay.empty()) {
      const bool well = fuzzing.read(input_at(options.replay));
      fmt::print("{}: {}\n", reader.name, fuzzing.reason().empty() ? "accepted, or a finding" : fuzzing.reason());
      return well ? 0 : 1;
    }
    if (!fuzzing.run(options.seconds / static_cast<double>(chosen.size()))) {
      return 1;
    }
  }
  return 0;
}

}  // namespace
}  // namespace dormer::fuzz

int main(int count, char** arguments) {
  try {
    dormer::log::set_level(dormer::log::Level::kError);
    dormer::tensor::configure_process(1);
    return dormer::fuzz::run(dormer::fuzz::read_options({arguments + 1, arguments + count}));
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}
