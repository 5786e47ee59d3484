#include "sweep/evaluation.hpp"

#include <array>
#include <cmath>
#include <cstdio>
#include <optional>

#include <sys/wait.h>

#include <nlohmann/json.hpp>

#include "dormer/core/error.hpp"
#include "dormer/core/shell_word.hpp"

namespace dormer::sweep {
namespace {

std::string filled(std::string command, const std::string& adapter) {
  constexpr std::string_view kPlace = "{adapter}";
  for (std::size_t at = command.find(kPlace); at != std::string::npos; at = command.find(kPlace, at)) {
    command.replace(at, kPlace.size(), adapter);
    at += adapter.size();
  }
  return "DORMER_ADAPTER=" + adapter + "; export DORMER_ADAPTER; " + command;
}

}  // namespace

double value_in(std::string_view printed, const std::string& command) {
  const std::size_t end = printed.find_last_not_of(" \n\r\t");
  const std::string_view text = printed.substr(0, end == std::string_view::npos ? 0 : end + 1);
  const std::size_t begin = text.rfind('\n');
  const std::string_view line = begin == std::string_view::npos ? text : text.substr(begin + 1);
  const nlohmann::json said = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  std::optional<double> value;
  if (said.is_number()) {
    value = said.get<double>();
  } else if (said.is_object() && said.contains("value") && said["value"].is_number()) {
    value = said["value"].get<double>();
  }
  require(value && std::isfinite(*value), Fault::kUsage,
          "sweep.evaluate: '{}' said '{}' last; it must be a number, or a JSON object with the number \"value\"",
          command, line.substr(0, 200));
  return *value;
}

double evaluate(const std::string& command, const std::filesystem::path& adapter) {
  const std::string line = filled(command, shell_word(std::filesystem::absolute(adapter).string()));
  std::FILE* pipe = ::popen(line.c_str(), "re");
  require(pipe != nullptr, Fault::kIo, "sweep.evaluate: no shell can be started for '{}'", command);
  std::string printed;
  std::array<char, 4096> buffer{};
  for (std::size_t count = std::fread(buffer.data(), 1, buffer.size(), pipe); count > 0;
       count = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
    printed.append(buffer.data(), count);
  }
  const int status = ::pclose(pipe);
  require(WIFEXITED(status) && WEXITSTATUS(status) == 0, Fault::kUsage, "sweep.evaluate: '{}' ended with {}", command,
          WIFEXITED(status) ? fmt::format("exit code {}", WEXITSTATUS(status))
                            : fmt::format("signal {}", WTERMSIG(status)));
  return value_in(printed, command);
}

}  // namespace dormer::sweep
