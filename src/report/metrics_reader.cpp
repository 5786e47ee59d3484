#include "dormer/report/metrics_reader.hpp"

#include <nlohmann/json.hpp>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"

namespace dormer::report {
namespace {

StepMetrics step_of(const nlohmann::ordered_json& object) {
  StepMetrics result{.step = object["step"].get<std::int64_t>(), .metrics = {}};
  for (const auto& [name, value] : object.items()) {
    if (name == "step") {
      continue;
    }
    if (value.is_number_integer()) {
      result.metrics.push_back({name, value.get<std::int64_t>()});
    } else if (value.is_number()) {
      result.metrics.push_back({name, value.get<double>()});
    }
  }
  return result;
}

}  // namespace

std::vector<StepMetrics> read_metrics(const std::filesystem::path& file) {
  const std::string text = read_file(file, "metrics file");
  std::vector<StepMetrics> steps;
  std::size_t begin = 0;
  std::size_t number = 1;
  for (std::size_t end = text.find('\n'); end != std::string::npos; begin = end + 1, end = text.find('\n', begin)) {
    const nlohmann::ordered_json object =
        nlohmann::ordered_json::parse(text.substr(begin, end - begin), nullptr, /*allow_exceptions=*/false);
    const bool good = object.is_object() && object.contains("step") && object["step"].is_number_integer();
    require(good, Fault::kInput, "{}:{}: not an object with a whole number 'step'; remove the line", file.string(),
            number);
    StepMetrics step = step_of(object);
    require(steps.empty() || step.step > steps.back().step, Fault::kInput,
            "{}:{}: step {} comes after step {}; remove the line", file.string(), number, step.step,
            steps.empty() ? 0 : steps.back().step);
    steps.push_back(std::move(step));
    ++number;
  }
  return steps;
}

}  // namespace dormer::report
