#include "cli/batch_script.hpp"

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <iterator>
#include <regex>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "dormer/core/shell_word.hpp"

namespace dormer::cli {
namespace {

const std::string& first_said(const std::string& request, const std::string& site) {
  return request.empty() ? site : request;
}

/// One word for a shell in which variables still count: sites write $USER and $HOME.
std::string expanding_word(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    result += c == '"' || c == '`' || c == '\\' ? std::string{'\\', c} : std::string(1, c);
  }
  return result + "\"";
}

/// sbatch reads its lines like a shell: what is not plain is quoted.
std::string option_line(std::string_view name, std::string_view value) {
  const bool plain = std::ranges::none_of(
      value, [](char c) { return std::string_view(" \t\"'#\\").find(c) != std::string_view::npos; });
  return fmt::format("#SBATCH --{}={}\n", name, plain ? std::string(value) : shell_word(value));
}

/// GPUs of a node: the number at the end of "4" or "a100:4", or of "gpu:4" or "gpu:a100:4" among other resources; 0
/// where there is none.
std::int64_t gpus_of(const JobRequest& request) {
  std::smatch found;
  const bool any = request.gpus_per_node.empty()
                       ? std::regex_search(request.gres, found, std::regex(R"((^|,)gpu(:[A-Za-z][\w.-]*)?:(\d+))"))
                       : std::regex_search(request.gpus_per_node, found, std::regex(R"((^|(:))(\d+)$)"));
  std::int64_t count = 0;
  if (any) {
    const std::string digits = found[3];
    std::from_chars(digits.data(), digits.data() + digits.size(), count);
  }
  return count;
}

std::int64_t ranks_per_node(const JobRequest& request) {
  return request.ranks_per_node > 0 ? request.ranks_per_node : std::max<std::int64_t>(gpus_of(request), 1);
}

bool is_one_line(std::string_view text) {
  return std::ranges::none_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x20; });
}

std::vector<std::string> joined(std::initializer_list<std::vector<std::string>> lists) {
  std::vector<std::string> result;
  for (const std::vector<std::string>& list : lists) {
    result.insert(result.end(), list.begin(), list.end());
  }
  return result;
}

/// Options of sbatch by their names; empty ones are not asked for.
std::vector<std::pair<std::string, std::string>> named_options(const JobRequest& request, const Site& site,
                                                               const TrainLine& line) {
  return {{"job-name", request.name},
          {"chdir", line.working_directory.string()},
          {"output", line.output.string()},
          {"nodes", fmt::format("{}", request.nodes)},
          {"ntasks-per-node", fmt::format("{}", ranks_per_node(request))},
          {"cpus-per-task", fmt::format("{}", request.cpus_per_rank)},
          {"gpus-per-node", request.gpus_per_node},
          {"gres", request.gres},
          {"mem", request.memory},
          {"time", request.time},
          {"account", first_said(request.account, site.account)},
          {"partition", first_said(request.partition, site.partition)},
          {"qos", first_said(request.qos, site.qos)},
          {"constraint", first_said(request.constraint, site.constraint)},
          {"reservation", first_said(request.reservation, site.reservation)},
          {"mail-user", request.mail_user},
          {"mail-type", request.mail_type},
          {"array", request.array},
          {"signal", request.signal_seconds > 0 ? fmt::format("B:USR1@{}", request.signal_seconds) : ""}};
}

std::string option_lines(const JobRequest& request, const Site& site, const TrainLine& line) {
  std::string result;
  for (const auto& [name, value] : named_options(request, site, line)) {
    result += value.empty() ? "" : option_line(name, value);
  }
  for (const std::string& option : joined({site.options, request.options})) {
    result += fmt::format("#SBATCH {}\n", option);
  }
  return result;
}

std::string environment_lines(const JobRequest& request, const Site& site, const TrainLine& line) {
  std::string result;
  if (!site.modules.empty()) {
    result += "[ \"$(type -t module)\" = function ] || source /etc/profile\n";
    result += fmt::format("module load {} || exit 2\n", fmt::join(site.modules, " "));
  }
  for (const std::string& variable : site.environment) {
    const std::size_t equals = variable.find('=');
    result += fmt::format("export {}={}\n", variable.substr(0, equals), expanding_word(variable.substr(equals + 1)));
  }
  if (!site.scratch.empty()) {
    result += fmt::format("export TMPDIR={}\n", expanding_word(site.scratch));
    result +=
        "srun --mpi=none --nodes=\"$SLURM_JOB_NUM_NODES\" --ntasks=\"$SLURM_JOB_NUM_NODES\" --ntasks-per-node=1 mkdir "
        "-p "
        "\"$TMPDIR\" || exit 4\n";
  }
  result += fmt::format("export DORMER_PROGRAM={}\n",
                        site.program.empty() ? shell_word(line.program.string()) : expanding_word(site.program));
  const std::vector<std::pair<const char*, std::string>> choices{
      {"DORMER_LAUNCHER", shell_word(first_said(request.launcher, site.launcher))},
      {"DORMER_LAUNCHER_OPTIONS", shell_word(fmt::format("{}", fmt::join(site.launcher_options, " ")))},
      {"DORMER_SRUN_MPI", shell_word(site.mpi)},
      {"DORMER_CONTAINER", expanding_word(site.container)},
      {"DORMER_REQUEUE", shell_word(first_said(request.requeue, site.requeue))}};
  for (const auto& [name, value] : choices) {
    result += fmt::format("export {}={}\n", name, value);
  }
  return result;
}

/// The lines of `body` that begin with `mark`, and all others but the first, which names the shell.
std::pair<std::string, std::string> split_options(std::string_view body) {
  std::pair<std::string, std::string> result;
  for (std::size_t begin = body.find('\n') + 1; begin < body.size();) {
    const std::size_t end = std::min(body.find('\n', begin), body.size() - 1);
    const std::string_view line = body.substr(begin, end + 1 - begin);
    (line.starts_with("#SBATCH ") ? result.first : result.second) += line;
    begin = end + 1;
  }
  return result;
}

bool matches(const std::string& text, const char* pattern) {
  return std::regex_match(text, std::regex(pattern));
}

/// The largest index of "0-9%4", "1,3,7" or "0-20:5".
std::int64_t largest_index(const std::string& array) {
  std::int64_t largest = 0;
  const std::string indices = array.substr(0, array.find('%'));
  const std::regex number(R"((:?)(\d+))");
  for (std::sregex_iterator found(indices.begin(), indices.end(), number), none; found != none; ++found) {
    std::int64_t value = 0;
    const std::string digits = (*found)[2];
    std::from_chars(digits.data(), digits.data() + digits.size(), value);
    largest = (*found)[1].length() == 0 ? std::max(largest, value) : largest;
  }
  return largest;
}

}  // namespace

std::vector<std::string> check(const JobRequest& request, const Site& site, const TrainLine& line) {
  std::vector<std::string> found;
  const auto demand = [&](bool holds, std::string text) {
    if (!holds) {
      found.push_back(std::move(text));
    }
  };
  demand(request.time.empty() || matches(request.time, R"(\d+(-\d+(:\d+){0,2}|(:\d+){0,2}))"),
         fmt::format("--time {}: write minutes, HH:MM:SS or DAYS-HH:MM:SS", request.time));
  demand(request.gpus_per_node.empty() || matches(request.gpus_per_node, R"(([A-Za-z][\w.-]*:)?\d+)"),
         fmt::format("--gpus-per-node {}: write a number or TYPE:NUMBER", request.gpus_per_node));
  const bool is_array = matches(request.array, R"(\d+(-\d+(:\d+)?)?(,\d+(-\d+(:\d+)?)?)*(%\d+)?)");
  demand(request.array.empty() || is_array, fmt::format("--array {}: write 0-9, 1,3,7 or 0-9%4", request.array));
  demand(!is_array || largest_index(request.array) < site.max_array_size,
         fmt::format("--array {}: this site's arrays end at index {} (max_array_size)", request.array,
                     site.max_array_size - 1));
  for (const std::string& option : joined({site.options, request.options})) {
    demand(option.starts_with("-"), fmt::format("'{}' is no option of sbatch; write --exclusive or --mem=8G", option));
  }
  for (const std::string& variable : site.environment) {
    demand(matches(variable, R"([A-Za-z_]\w*=.*)"), fmt::format("environment: '{}': write NAME=VALUE", variable));
  }
  // A line break would begin a line of its own in the script.
  for (const auto& [name, value] : named_options(request, site, line)) {
    demand(is_one_line(value), fmt::format("--{}: a line break in '{}'", name, value));
  }
  for (const std::string& text : joined({site.options,
                                         request.options,
                                         site.modules,
                                         site.environment,
                                         site.launcher_options,
                                         {site.container, site.scratch, site.program}})) {
    demand(is_one_line(text), fmt::format("a line break in '{}'", text));
  }
  return found;
}

std::string batch_script(const JobRequest& request, const Site& site, const TrainLine& line, std::string_view body) {
  const auto [own_options, rest] = split_options(body);
  std::vector<std::string> words;
  std::ranges::transform(line.arguments, std::back_inserter(words),
                         [](const std::string& word) { return shell_word(word); });
  // sbatch reads options up to the first command; of two lines about one thing the later one counts.
  return "#!/usr/bin/env bash\n" + own_options + option_lines(request, site, line) + '\n' +
         environment_lines(request, site, line) + fmt::format("set -- {}\n\n", fmt::join(words, " ")) + rest;
}

}  // namespace dormer::cli
