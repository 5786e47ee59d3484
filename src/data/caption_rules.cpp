#include "dormer/data/caption_rules.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string_view>
#include <utility>

namespace dormer::data {
namespace {

constexpr std::string_view kPlaceholder = "[trigger]";

float uniform(RandomKey key, std::uint64_t counter) {
  return to_uniform(philox(key, counter)[0]);
}

bool happens(double rate, RandomKey key, std::uint64_t counter) {
  return static_cast<double>(uniform(key, counter)) < rate;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kBlanks);
  return begin == std::string_view::npos ? std::string_view()
                                         : text.substr(begin, text.find_last_not_of(kBlanks) + 1 - begin);
}

using Tags = std::vector<std::string_view>;

Tags split_tags(std::string_view text, std::string_view separator) {
  Tags tags;
  while (!text.empty()) {
    const std::size_t end = separator.empty() ? std::string_view::npos : text.find(separator);
    if (const std::string_view tag = trimmed(text.substr(0, end)); !tag.empty()) {
      tags.push_back(tag);
    }
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + separator.size());
  }
  return tags;
}

/// Tags that stay at the front, that may move or be missing, and that stay at the end.
struct Parts {
  Tags front;
  Tags loose;
  Tags back;
};

Parts split_parts(std::string_view text, const CaptionRules& rules) {
  Parts parts;
  const std::string_view mark = rules.keep_separator;
  const std::size_t first = mark.empty() ? std::string_view::npos : text.find(mark);
  if (first != std::string_view::npos) {
    parts.front = split_tags(text.substr(0, first), rules.separator);
    const std::string_view rest = text.substr(first + mark.size());
    const std::size_t second = rest.find(mark);
    parts.loose = split_tags(rest.substr(0, second), rules.separator);
    if (second != std::string_view::npos) {
      parts.back = split_tags(rest.substr(second + mark.size()), rules.separator);
    }
    return parts;
  }
  parts.loose = split_tags(text, rules.separator);
  const auto kept = parts.loose.begin() + std::min<std::int64_t>(rules.keep_first, std::ssize(parts.loose));
  parts.front.assign(parts.loose.begin(), kept);
  parts.loose.erase(parts.loose.begin(), kept);
  return parts;
}

bool is_word_byte(char byte) {
  const auto value = static_cast<unsigned char>(byte);
  return value >= 0x80 || value == '_' || (value >= '0' && value <= '9') ||
         ((value | 0x20) >= 'a' && (value | 0x20) <= 'z');
}

bool has_word(std::string_view text, std::string_view word) {
  for (std::size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
    const std::size_t end = at + word.size();
    if ((at == 0 || !is_word_byte(text[at - 1])) && (end == text.size() || !is_word_byte(text[end]))) {
      return true;
    }
  }
  return false;
}

bool is_protected(std::string_view tag, const CaptionRules& rules) {
  const bool trigger =
      tag.find(kPlaceholder) != std::string_view::npos || (!rules.trigger.empty() && has_word(tag, rules.trigger));
  return trigger || std::find(rules.tag_dropout.protect.begin(), rules.tag_dropout.protect.end(), tag) !=
                        rules.tag_dropout.protect.end();
}

Tags without_dropped(const Tags& tags, const CaptionRules& rules, RandomKey key) {
  const TagDropout& dropout = rules.tag_dropout;
  const bool all = dropout.mode == "all" && happens(dropout.rate, key, 0);
  Tags kept;
  for (std::size_t i = 0; i < tags.size(); ++i) {
    const double share = static_cast<double>(i + 1) / static_cast<double>(tags.size());
    const double rate = dropout.mode == "rising" ? dropout.rate * share : dropout.rate;
    const bool dropped = dropout.mode == "all" ? all : happens(rate, key, i);
    if (!dropped || is_protected(tags[i], rules)) {
      kept.push_back(tags[i]);
    }
  }
  return kept;
}

// Sorting by random numbers gives every order the same probability; equal ones, in one pair of 2^64, keep their order.
void shuffle(Tags& tags, RandomKey key) {
  std::vector<std::pair<std::uint64_t, std::string_view>> drawn;
  for (std::size_t i = 0; i < tags.size(); ++i) {
    const auto words = philox(key, i);
    drawn.emplace_back((std::uint64_t{words[0]} << 32) | words[1], tags[i]);
  }
  std::stable_sort(drawn.begin(), drawn.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::transform(drawn.begin(), drawn.end(), tags.begin(), [](const auto& entry) { return entry.second; });
}

std::string joined(const Parts& parts, const std::string& separator) {
  std::string text;
  for (const Tags* tags : {&parts.front, &parts.loose, &parts.back}) {
    for (const std::string_view tag : *tags) {
      text += text.empty() ? "" : separator + (trimmed(separator).empty() ? "" : " ");
      text += tag;
    }
  }
  return text;
}

std::string with_tag_rules(std::string_view caption, const CaptionRules& rules, RandomKey key) {
  const bool marked = !rules.keep_separator.empty() && caption.find(rules.keep_separator) != std::string_view::npos;
  if (!rules.shuffle && rules.tag_dropout.rate <= 0 && !marked) {
    return std::string(trimmed(caption));
  }
  Parts parts = split_parts(caption, rules);
  parts.loose = without_dropped(parts.loose, rules, key.child("tag dropout"));
  if (rules.shuffle) {
    shuffle(parts.loose, key.child("shuffle"));
  }
  return joined(parts, rules.separator);
}

std::string with_trigger(std::string text, const CaptionRules& rules) {
  if (rules.trigger.empty()) {
    return text;
  }
  for (std::size_t at = text.find(kPlaceholder); at != std::string::npos;
       at = text.find(kPlaceholder, at + rules.trigger.size())) {
    text.replace(at, kPlaceholder.size(), rules.trigger);
  }
  if (has_word(text, rules.trigger)) {
    return text;
  }
  return text.empty() ? rules.trigger : rules.trigger + rules.separator + " " + text;
}

std::size_t chosen(const CaptionRules& rules, std::size_t count, RandomKey key) {
  // The high half of a 32-bit product: a caption's probability is off by less than count / 2^32.
  return rules.choose == "first" ? 0 : static_cast<std::size_t>((std::uint64_t{philox(key, 0)[0]} * count) >> 32);
}

}  // namespace

void TagDropout::describe(config::Visitor& visitor) {
  visitor.field("rate", rate, {.doc = "Probability that a tag is left out.", .min = 0, .max = 1});
  visitor.field("mode", mode,
                {.doc = "each: every tag by itself. all: all together or none. rising: every tag by itself, with a "
                        "probability that grows from the first to the last, where it is the rate.",
                 .choices = {"each", "all", "rising"}});
  visitor.field("protect", protect, {.doc = "Tags that are never left out, as they are written."});
}

void CaptionRules::describe(config::Visitor& visitor) {
  visitor.field("choose", choose,
                {.doc = "Which caption an image with several (lines of its file) shows: one at random for every visit, "
                        "or the first.",
                 .choices = {"random", "first"}});
  visitor.field("separator", separator, {.doc = "What stands between tags. Empty: a caption is one tag."});
  visitor.field("shuffle", shuffle, {.doc = "Another order of the tags for every visit."});
  visitor.field("keep_first", keep_first,
                {.doc = "Tags at the beginning that are neither moved nor left out.", .min = 0});
  visitor.field(
      "keep_separator", keep_separator,
      {.doc = "Sign (such as |||) before which tags are kept at the front, instead of keep_first, and after a "
              "second one at the end. It is taken out. Empty: none."});
  visitor.group("tag_dropout", tag_dropout, "Tags that are left out at random.");
  visitor.field(
      "dropout", dropout,
      {.doc = "Probability that the whole caption is empty, trigger, prefix and suffix included.", .min = 0, .max = 1});
  visitor.field(
      "trigger", trigger,
      {.doc = "Words that call what is learned: they replace [trigger] in captions and are put first in those "
              "that have them nowhere. Never left out. Empty: none."});
  visitor.field("prefix", prefix, {.doc = "Text before every caption, outside of the tags."});
  visitor.field("suffix", suffix, {.doc = "Text after every caption, outside of the tags."});
}

std::string caption_for(const CaptionRules& rules, std::span<const std::string> captions, RandomKey key) {
  if (happens(rules.dropout, key.child("dropout"), 0)) {
    return "";
  }
  std::string text;
  if (!captions.empty()) {
    text = with_tag_rules(captions[chosen(rules, captions.size(), key.child("choose"))], rules, key);
  }
  text = with_trigger(std::move(text), rules);
  if (!rules.prefix.empty()) {
    text = text.empty() ? rules.prefix : rules.prefix + " " + text;
  }
  if (!rules.suffix.empty()) {
    text = text.empty() ? rules.suffix : text + " " + rules.suffix;
  }
  return text;
}

}  // namespace dormer::data
