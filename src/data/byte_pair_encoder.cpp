#include "data/byte_pair_encoder.hpp"

#include <queue>

#include "dormer/core/error.hpp"

namespace dormer::data {
namespace {

constexpr std::string_view kEndOfWord = "</w>";
// About 4 MB when full; the words of a large data set's captions are fewer, and what is full begins anew.
constexpr std::size_t kCachedWords = 1U << 15;
constexpr std::size_t kCachedBytes = 48;  // longer words do not come again

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32) | static_cast<std::uint32_t>(right);
}

std::int64_t id_of(const ClipVocabulary& vocabulary, std::string_view token) {
  const auto found = vocabulary.ids.find(token);
  return found == vocabulary.ids.end() ? -1 : found->second;
}

}  // namespace

/// Neighbours are linked by position; -1: none.
struct BytePairEncoder::Symbol {
  Id id;
  std::int32_t previous;
  std::int32_t next;
  bool alive;
};

struct BytePairEncoder::Candidate {
  std::int32_t rank;
  std::int32_t position;
  Id left;  ///< what stood there: another symbol since then makes the candidate stale
  Id right;
  Id result;

  bool operator<(const Candidate& other) const {  // the queue gives the greatest first
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

std::string BytePairEncoder::spelling(unsigned char byte) {
  unsigned point = byte;
  const auto printable = [](unsigned value) {
    return (value >= 0x21 && value <= 0x7E) || (value >= 0xA1 && value != 0xAD);
  };
  if (!printable(byte)) {  // the others are numbered from 256 on
    point = 256;
    for (unsigned smaller = 0; smaller < byte; ++smaller) {
      point += printable(smaller) ? 0 : 1;
    }
  }
  if (point < 0x80) {
    return {static_cast<char>(point)};
  }
  return {static_cast<char>(0xC0 | (point >> 6)), static_cast<char>(0x80 | (point & 0x3F))};
}

BytePairEncoder::BytePairEncoder(const ClipVocabulary& vocabulary, std::string_view unknown) {
  read_bytes(vocabulary, unknown);
  read_merges(vocabulary);
}

void BytePairEncoder::read_bytes(const ClipVocabulary& vocabulary, std::string_view unknown) {
  const std::int64_t otherwise = id_of(vocabulary, unknown);
  for (std::size_t byte = 0; byte < inner_.size(); ++byte) {
    const std::string symbol = spelling(static_cast<unsigned char>(byte));
    for (const bool last : {false, true}) {
      const std::string token = last ? symbol + std::string(kEndOfWord) : symbol;
      const std::int64_t id = id_of(vocabulary, token);
      require(id >= 0 || otherwise >= 0, Fault::kInput,
              "{}: neither {} nor the unknown token {} is in the vocabulary; fetch the model's folder again",
              vocabulary.ids_file, quoted_token(token), quoted_token(unknown));
      (last ? last_ : inner_)[byte] = static_cast<Id>(id >= 0 ? id : otherwise);
    }
  }
}

void BytePairEncoder::read_merges(const ClipVocabulary& vocabulary) {
  ranks_.reserve(vocabulary.merges.size());
  std::int32_t rank = 0;
  for (const Merge& merge : vocabulary.merges) {
    const std::int64_t left = id_of(vocabulary, merge.left);
    const std::int64_t right = id_of(vocabulary, merge.right);
    const std::int64_t result = id_of(vocabulary, merge.left + merge.right);
    require(left >= 0 && right >= 0 && result >= 0, Fault::kInput,
            "{}: merge {} of {} has a token that is not in {}; fetch the model's folder again", vocabulary.merges_file,
            rank + 1, vocabulary.merges.size(), vocabulary.ids_file);
    ranks_[pair_key(static_cast<Id>(left), static_cast<Id>(right))] = {rank++, static_cast<Id>(result)};
  }
}

const BytePairEncoder::Ranked* BytePairEncoder::find(Id left, Id right) const {
  const auto found = ranks_.find(pair_key(left, right));
  return found == ranks_.end() ? nullptr : &found->second;
}

std::vector<BytePairEncoder::Id> BytePairEncoder::merged(std::string_view word) const {
  const auto count = static_cast<std::int32_t>(word.size());
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  for (std::int32_t i = 0; i < count; ++i) {
    const auto byte = static_cast<unsigned char>(word[static_cast<std::size_t>(i)]);
    const bool last = i + 1 == count;
    symbols.push_back({last ? last_[byte] : inner_[byte], i - 1, last ? -1 : i + 1, true});
  }
  const auto at = [&symbols](std::int32_t position) -> Symbol& { return symbols[static_cast<std::size_t>(position)]; };
  std::priority_queue<Candidate> candidates;
  const auto consider = [&](std::int32_t position) {
    if (position >= 0 && at(position).next >= 0) {
      const Id left = at(position).id;
      const Id right = at(at(position).next).id;
      if (const Ranked* ranked = find(left, right); ranked != nullptr) {
        candidates.push({ranked->rank, position, left, right, ranked->result});
      }
    }
  };
  for (std::int32_t i = 0; i + 1 < count; ++i) {
    consider(i);
  }
  while (!candidates.empty()) {
    const Candidate best = candidates.top();
    candidates.pop();
    Symbol& left = at(best.position);
    if (!left.alive || left.id != best.left || left.next < 0 || at(left.next).id != best.right) {
      continue;
    }
    at(left.next).alive = false;
    left.id = best.result;
    left.next = at(left.next).next;
    if (left.next >= 0) {
      at(left.next).previous = best.position;
    }
    consider(left.previous);
    consider(best.position);
  }
  std::vector<Id> ids;
  for (std::int32_t i = 0; i >= 0 && i < count; i = at(i).next) {
    ids.push_back(at(i).id);
  }
  return ids;
}

void BytePairEncoder::append(std::string_view word, std::vector<std::int64_t>& ids) const {
  std::unique_lock lock(cache_mutex_, std::try_to_lock);
  const bool cached = lock.owns_lock() && word.size() <= kCachedBytes;
  if (cached) {
    if (const auto found = cache_.find(word); found != cache_.end()) {
      ids.insert(ids.end(), found->second.begin(), found->second.end());
      return;
    }
  } else if (lock.owns_lock()) {
    lock.unlock();
  }
  std::vector<Id> result = merged(word);
  ids.insert(ids.end(), result.begin(), result.end());
  if (cached) {
    if (cache_.size() >= kCachedWords) {
      cache_.clear();
    }
    cache_.emplace(word, std::move(result));
  }
}

}  // namespace dormer::data
