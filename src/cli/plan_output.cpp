#include "plan_output.hpp"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "byte_size.hpp"

namespace dormer::cli {
namespace {

using train::RankMemory;
using train::RankPlan;

struct Part {
  const char* name;
  std::int64_t RankMemory::*bytes;
};

constexpr std::array<Part, 9> kParts{{{"frozen weights, own", &RankMemory::base},
                                      {"packed copies", &RankMemory::packed_copies},
                                      {"adapters", &RankMemory::adapters},
                                      {"gradients", &RankMemory::gradients},
                                      {"moments", &RankMemory::moments},
                                      {"reduction buffers", &RankMemory::buffers},
                                      {"activations", &RankMemory::activations},
                                      {"loss", &RankMemory::loss},
                                      {"while saving", &RankMemory::saving}}};

/// Neighbouring ranks that do and hold the same.
struct Group {
  std::size_t first = 0;
  std::size_t last = 0;
  [[nodiscard]] std::string name() const {
    return first == last ? fmt::format("rank {}", first) : fmt::format("ranks {}-{}", first, last);
  }
};

bool alike(const RankPlan& a, const RankPlan& b) {
  return a.micro_batches == b.micro_batches && a.bytes_sent == b.bytes_sent && a.bytes_received == b.bytes_received &&
         a.memory.peak == b.memory.peak && a.memory.moments == b.memory.moments && a.memory.buffers == b.memory.buffers;
}

std::vector<Group> groups_of(const std::vector<RankPlan>& ranks) {
  std::vector<Group> groups{};
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    if (groups.empty() || !alike(ranks[groups.back().first], ranks[rank])) {
      groups.push_back({rank, rank});
    }
    groups.back().last = rank;
  }
  return groups;
}

/// "1,234,567".
std::string counted(std::int64_t number) {
  std::string text = fmt::format("{}", number);
  for (std::ptrdiff_t place = std::ssize(text) - 3; place > 0; place -= 3) {
    text.insert(static_cast<std::size_t>(place), ",");
  }
  return text;
}

std::string head(const train::RunConfig& config, const train::RunPlan& plan) {
  const bool full = config.adapter.kind == "full";
  std::string text = fmt::format("run        {} in {}, {} updates, {} of warm-up\n", config.name(),
                                 config.run.directory.string(), plan.total_steps, plan.warmup_steps);
  text += fmt::format("model      {}\n", plan.model);
  text += fmt::format("adapter    {}{}{} on {} layers, {} parameters\n", config.adapter.decompose ? "decomposed " : "",
                      config.adapter.kind, full ? "" : fmt::format(" of rank {}", config.adapter.rank),
                      plan.adapted_layers, counted(plan.parameters));
  const std::string data =
      plan.training_tokens == 0
          ? plan.data
          : fmt::format("{} samples of {} tokens{} ({} tokens)", counted(plan.training_samples),
                        config.data.sequence_length, plan.documents ? ", documents kept apart" : "",
                        counted(plan.training_tokens));
  text += fmt::format("data       {}; the run takes {} samples, {:.2f} epochs\n", data, counted(plan.run_samples),
                      plan.epochs);
  text += fmt::format("update     {} samples in {} micro-batches of {}, {} leaves\n", config.batch.global,
                      plan.micro_batches, config.batch.micro, plan.leaves);
  for (const Group& group : groups_of(plan.ranks)) {
    const RankPlan& rank = plan.ranks[group.first];
    text += fmt::format("{:<10} {} micro-batches", group.name(), rank.micro_batches);
    text += plan.ranks.size() == 1
                ? "\n"
                : fmt::format("{}, sends {} and receives {} an update\n", group.first == group.last ? "" : " each",
                              byte_text(rank.bytes_sent), byte_text(rank.bytes_received));
  }
  return text;
}

std::string cells(const std::vector<std::string>& columns) {
  std::string text{};
  for (const std::string& column : columns) {
    text += fmt::format("{:>14}", column);
  }
  return text + "\n";
}

/// Parts as rows, groups [first, last) of ranks as columns.
std::string memory_table(const train::RunPlan& plan, const std::vector<Group>& groups, std::int64_t program_bytes) {
  const auto row = [&](const std::string& name, const auto& text_of) {
    std::vector<std::string> columns;
    for (const Group& group : groups) {
      columns.push_back(text_of(plan.ranks[group.first].memory));
    }
    return fmt::format("  {:<24}{}", name, cells(columns));
  };
  std::vector<std::string> names{};
  for (const Group& group : groups) {
    names.push_back(group.name());
  }
  std::string text = fmt::format("{:<26}{}", plan.gpu ? "memory of a GPU" : "memory", cells(names));
  for (const Part& part : kParts) {
    const bool beside = plan.gpu && part.bytes == &RankMemory::saving;
    text += row(beside ? "(on the host, saving)" : part.name, [&](const RankMemory& memory) {
      return memory.*part.bytes == 0 ? "-" : byte_text(memory.*part.bytes);
    });
  }
  text += row("peak", [](const RankMemory& memory) { return byte_text(memory.peak); });
  text += row("  reached in", [](const RankMemory& memory) { return memory.busiest; });
  if (!plan.gpu) {
    text += row("resident, about", [program_bytes](const RankMemory& memory) {
      return byte_text(train::resident_bytes(memory, program_bytes));
    });
  }
  return text;
}

std::string memory(const train::RunPlan& plan, std::int64_t program_bytes) {
  constexpr std::size_t kColumns = 6;
  const std::vector<Group> groups = groups_of(plan.ranks);
  std::string text{};
  for (std::size_t first = 0; first < groups.size(); first += kColumns) {
    const auto begin = groups.begin() + static_cast<std::ptrdiff_t>(first);
    text += memory_table(plan, {begin, begin + static_cast<std::ptrdiff_t>(std::min(kColumns, groups.size() - first))},
                         program_bytes);
  }
  if (plan.gpu) {
    return text;
  }
  for (const train::MachinePlan& machine : plan.machines) {
    text += fmt::format("machine    {} rank{}: {} of their own, {} mapped from the model's files and shared: {}\n",
                        machine.ranks.size(), machine.ranks.size() > 1 ? "s" : "", byte_text(machine.own),
                        byte_text(machine.mapped), byte_text(machine.total()));
    if (machine.ranks == plan.machines.front().ranks && plan.machines.size() > 1 &&
        plan.machines.front().own == plan.machines.back().own) {
      text += fmt::format("           ({} machines alike)\n", plan.machines.size());
      break;
    }
  }
  text +=
      fmt::format("program    {} besides in every rank, for the program and its libraries\n", byte_text(program_bytes));
  return text;
}

std::string gpu_fit(const train::GpuFit& fit) {
  std::string text = fmt::format("gpu        {} of {} needed, {} of it assumed for CUDA and its libraries: {}\n",
                                 byte_text(fit.needed), byte_text(fit.available), byte_text(fit.assumed),
                                 fit.fits ? "it fits" : "it does not fit");
  for (const train::ChangePlan& change : fit.changes) {
    text += fmt::format("           {:<44} {:>10}{}\n", change.change, byte_text(change.peak + fit.assumed),
                        change.fits ? "  fits" : "");
  }
  return text;
}

std::string files(const train::RunPlan& plan) {
  std::string text = fmt::format("files      at most {} when it is done\n", byte_text(plan.disk_bytes()));
  for (const train::FilePlan& file : plan.files) {
    text += fmt::format("           {:<24} {:>12}{}\n", file.name, byte_text(file.bytes),
                        file.count > 1 ? fmt::format(" each, at most {} kept", file.count) : "");
  }
  return text;
}

}  // namespace

std::string plan_text(const train::RunConfig& config, const train::RunPlan& plan, std::int64_t program_bytes) {
  return head(config, plan) + "\n" + memory(plan, program_bytes) + (plan.fit ? gpu_fit(*plan.fit) : "") + "\n" +
         files(plan);
}

}  // namespace dormer::cli
