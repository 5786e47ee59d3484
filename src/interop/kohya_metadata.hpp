#pragma once

#include <span>
#include <string>

#include "dormer/interop/adapter_format.hpp"
#include "dormer/storage/safetensors.hpp"

namespace dormer::interop {

/// What a file of kohya's form says about itself: ss_* (the smallest set that every reader needs, and whatever ss_* and
/// modelspec.* the adapter brought along), modelspec.* and the hashes over `arrays`. `name` is the output's, without
/// its ending. With `request.text.privacy` nothing that was brought along stays, since captions, paths and times stand
/// there. Pure: no clock, no host.
///   sshs_model_hash         SHA-256 of all bytes after the header
///   sshs_legacy_hash        eight digits of the SHA-256 of 64 KiB at 1 MiB of the file with ss_* alone
///   modelspec.hash_sha256   "0x" and the SHA-256 of the arrays' bytes in the order of the file
/// What the file calls itself: the request's name, else the target's without its ending.
[[nodiscard]] std::string output_name(const std::filesystem::path& target, const WriteRequest& request);

[[nodiscard]] storage::Metadata kohya_metadata(const StoredAdapter& adapter,
                                               std::span<const storage::NamedArray> arrays, const std::string& name,
                                               const WriteRequest& request);

}  // namespace dormer::interop
