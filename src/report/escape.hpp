#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dormer::report {

/// `text` as HTML shows it, also inside of quoted attributes.
[[nodiscard]] std::string escaped(std::string_view text);

/// A JSON string that cannot end the script element around it.
[[nodiscard]] std::string script_string(std::string_view text);
[[nodiscard]] std::string script_strings(const std::vector<std::string>& texts);

/// A JSON list of numbers with so many digits; what is no number is null.
[[nodiscard]] std::string script_numbers(const std::vector<double>& values, int digits);

/// Bytes as a URI of their own: "data:image/png;base64,…".
[[nodiscard]] std::string data_uri(std::string_view type, std::string_view bytes);

}  // namespace dormer::report
