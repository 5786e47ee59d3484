#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dormer::data {

/// Throws an input error that names the first byte which is no UTF-8.
void require_utf8(std::string_view text);

/// What CLIP's tokenizer makes of a caption before it cuts words: NFC, one blank for each run of white space (Unicode's
/// White_Space), small letters code point by code point. `text` is UTF-8.
[[nodiscard]] std::string normalize_caption(std::string_view text);

/// The words of a normalized caption, in order; white space belongs to none. The pattern is CLIP's
/// `<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+`, but that the two
/// tokens written out are three words each: byte-level BPE cuts letters from signs once more.
[[nodiscard]] std::vector<std::string_view> split_words(std::string_view text);

}  // namespace dormer::data
