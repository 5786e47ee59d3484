#pragma once

#include <string>

#include "migration/translation.hpp"

namespace dormer::migration {

/// Whether OneTrainer's model_type is Stable Diffusion 3 or 3.5.
[[nodiscard]] bool is_onetrainers_flow(const std::string& type);

/// OneTrainer's: model.train, where it is another than ours would be. `type` is its model_type; full fine-tuning is of
/// the denoiser alone.
void set_onetrainers_parts(Translation& t, const std::string& type, bool adapters);

/// OneTrainer's: rates and ends of the text encoders in our model.train, where they are other than the denoiser's
/// `rate`. `common` is the rate of parts that name none. Rates are multiplied by `factor`.
void set_onetrainers_text_rates(Translation& t, double common, double rate, double factor);

/// kohya's scripts train text encoders, too, unless they are told not to or keep their outputs: model.train, and rates
/// of their own.
void set_kohyas_text_encoders(Translation& t);

}  // namespace dormer::migration
