#include "dormer/data/prompt_lines.hpp"

#include <charconv>
#include <cmath>
#include <cstddef>
#include <system_error>
#include <utility>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"

namespace dormer::data {
namespace {

constexpr std::string_view kOptions =
    "--n (negative prompt), --w (width), --h (height), --d (seed), --l (guidance), "
    "--s (steps)";

constexpr std::size_t kMostPrompts = 10'000;

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r";
  const std::size_t begin = text.find_first_not_of(kBlanks);
  return begin == std::string_view::npos ? std::string_view()
                                         : text.substr(begin, text.find_last_not_of(kBlanks) + 1 - begin);
}

/// "FILE:LINE", for messages.
struct Place {
  const std::string& file;
  std::int64_t line;
  [[nodiscard]] std::string text() const { return fmt::format("{}:{}", file, line); }
};

template <typename Number>
Number number_of(std::string_view option, std::string_view value, Number least, Number most, const Place& place) {
  Number number{};
  const auto [end, code] = std::from_chars(value.data(), value.data() + value.size(), number);
  const bool whole = code == std::errc() && end == value.data() + value.size();
  require(whole && number >= least && number <= most, Fault::kInput, "{}: --{} takes a number from {} to {}, not '{}'",
          place.text(), option, least, most, value);
  return number;
}

std::int64_t pixels_of(std::string_view option, std::string_view value, const Place& place) {
  const auto pixels = number_of<std::int64_t>(option, value, 64, 8192, place);
  require(pixels % 8 == 0, Fault::kInput, "{}: --{} {} is no multiple of 8; write {}", place.text(), option, pixels,
          pixels - pixels % 8);
  return pixels;
}

template <typename Value>
void set_once(std::optional<Value>& slot, Value value, std::string_view option, const Place& place) {
  require(!slot.has_value(), Fault::kInput, "{}: --{} is there twice; keep one", place.text(), option);
  slot = value;
}

/// `negative` tells whether one was there, which an empty text does not.
struct Reading {
  PromptLine line;
  std::optional<bool> negative;
};

void apply_option(Reading& reading, std::string_view option, std::string_view value, const Place& place) {
  const char letter = option.size() == 1 ? static_cast<char>(option[0] | 0x20) : ' ';
  PromptLine& line = reading.line;
  switch (letter) {
    case 'n':
      set_once(reading.negative, true, option, place);
      line.negative = value;
      break;
    case 'w':
      set_once(line.width, pixels_of(option, value, place), option, place);
      break;
    case 'h':
      set_once(line.height, pixels_of(option, value, place), option, place);
      break;
    case 'd':
      set_once(line.seed, number_of<std::int64_t>(option, value, 0, INT64_MAX, place), option, place);
      break;
    case 'l':
      set_once(line.guidance, number_of<double>(option, value, 0.0, 1000.0, place), option, place);
      break;
    case 's':
      set_once(line.steps, number_of<std::int64_t>(option, value, 1, 1000, place), option, place);
      break;
    default:
      fail(Fault::kInput, "{}: unknown option --{}; known are {}", place.text(), option, kOptions);
  }
}

PromptLine parse_line(std::string_view text, const Place& place) {
  constexpr std::string_view kMark = " --";
  require(!text.starts_with("--"), Fault::kInput,
          "{}: an option stands where the prompt should; write the prompt first", place.text());
  Reading reading;
  std::size_t mark = text.find(kMark);
  reading.line.prompt = trimmed(text.substr(0, mark));
  reading.line.line = place.line;
  while (mark != std::string_view::npos) {
    text = text.substr(mark + kMark.size());
    mark = text.find(kMark);
    const std::string_view part = text.substr(0, mark);
    const std::size_t blank = part.find(' ');
    const std::string_view value = blank == std::string_view::npos ? std::string_view() : trimmed(part.substr(blank));
    apply_option(reading, part.substr(0, blank), value, place);
  }
  return std::move(reading.line);
}

}  // namespace

std::vector<PromptLine> parse_prompt_lines(std::string_view text, const std::string& where) {
  std::vector<PromptLine> prompts;
  if (text.starts_with("\xEF\xBB\xBF")) {  // a byte order mark
    text.remove_prefix(3);
  }
  for (std::int64_t number = 1; !text.empty(); ++number) {
    const std::size_t end = text.find('\n');
    const std::string_view line = trimmed(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    if (!line.empty() && !line.starts_with('#')) {
      require(prompts.size() < kMostPrompts, Fault::kInput,
              "{}:{}: more than {} prompts; an image is made of each, keep fewer", where, number, kMostPrompts);
      prompts.push_back(parse_line(line, {where, number}));
    }
  }
  return prompts;
}

std::vector<PromptLine> read_prompt_lines(const std::filesystem::path& file) {
  return parse_prompt_lines(read_file(file, "prompts"), file.string());
}

}  // namespace dormer::data
