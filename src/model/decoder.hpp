#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string_view>

#include "config_fields.hpp"
#include "decoder_description.hpp"
#include "dormer/model/family.hpp"

namespace dormer::model {

/// Loads the weights of a Hugging Face folder as this decoder.
[[nodiscard]] std::unique_ptr<LanguageModel> load_decoder(DecoderDescription description,
                                                          const std::filesystem::path& folder,
                                                          const Placement& placement);

/// A family of decoders: `describe` reads config.json and notes what it cannot do.
[[nodiscard]] ModelFamily decoder_family(std::string_view doc, std::vector<std::string> model_types,
                                         std::function<DecoderDescription(ConfigFields&)> describe);

/// What `describe` makes of config.json's text. Throws one input error that names, for `where`, every problem.
[[nodiscard]] DecoderDescription describe_decoder(const std::function<DecoderDescription(ConfigFields&)>& describe,
                                                  const std::string& config_text, std::string_view where);

}  // namespace dormer::model
