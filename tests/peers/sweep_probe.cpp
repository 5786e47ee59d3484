// What the peer tests ask of the samplers, a line of JSON for each line of JSON:
//   {"space": YAML, "method": "tpe", "seed": 3}           begins a sweep; the answer is {}
//   {"ask": null}                                         the next point, from all results so far: {"path": "text", …}
//   {"tell": 0.5}                                         the result of the last point; the answer is {}
//   {"space": YAML, "observations": […], "at": […]}       the logarithm of the Parzen estimator's density at
//   coordinates
//   {"sobol": DIMENSION, "points": COUNT}                 the sequence as fractions of 2^32

#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "dormer/sweep/sampler.hpp"
#include "sweep/parzen.hpp"
#include "sweep/sobol.hpp"

namespace dormer::sweep {
namespace {

using nlohmann::json;

/// One sweep at a time.
class Probe {
 public:
  json answer(const json& line) {
    if (line.contains("sobol")) {
      json points = json::array();
      for (std::uint32_t index = 0; index < line["points"].get<std::uint32_t>(); ++index) {
        points.push_back(sobol(line["sobol"].get<std::uint32_t>(), index));
      }
      return points;
    }
    if (line.contains("observations")) {
      const Space space = parse_space(line["space"].get<std::string>());
      const ParzenEstimator estimator(space.parameters().at(0), line["observations"].get<std::vector<double>>());
      json densities = json::array();
      for (const double coordinate : line["at"].get<std::vector<double>>()) {
        densities.push_back(estimator.log_density(coordinate));
      }
      return densities;
    }
    if (line.contains("space")) {
      space_ = parse_space(line["space"].get<std::string>());
      sampler_ = sampler_registry().get("method", line["method"].get<std::string>())(
          {.space = space_, .seed = RandomKey{line["seed"].get<std::uint64_t>()}});
      seen_.clear();
      return json::object();
    }
    if (line.contains("ask")) {
      point_ = sampler_->propose(static_cast<std::int64_t>(seen_.size()), seen_);
      json settings = json::object();
      for (const Setting& setting : point_) {
        settings[setting.path] = setting.text;
      }
      return settings;
    }
    seen_.push_back(
        {.number = static_cast<std::int64_t>(seen_.size()), .point = point_, .value = line.at("tell").get<double>()});
    return json::object();
  }

 private:
  Space space_;
  std::unique_ptr<Sampler> sampler_;
  std::vector<Observation> seen_;
  Point point_;
};

}  // namespace
}  // namespace dormer::sweep

int main() {
  try {
    dormer::sweep::Probe probe;
    for (std::string line; std::getline(std::cin, line);) {
      std::cout << probe.answer(nlohmann::json::parse(line)).dump() << std::endl;
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}
