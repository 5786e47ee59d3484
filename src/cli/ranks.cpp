#include "cli/ranks.hpp"

#include <array>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "dormer/comm/watched.hpp"
#include "dormer/comm/world.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"

namespace dormer::cli {
namespace {

// When an error strikes every rank alike, rank 0 tells it and ends the job while the others wait here.
constexpr std::chrono::seconds kGraceForRank0{3};

constexpr std::string_view kOutOfMemory =
    "out of memory; use fewer ranks on this machine, a smaller batch.micro or a shorter data.sequence_length";

struct Report {
  int exit_code = 0;
  std::string text;
};

std::string_view first_line(std::string_view text) {
  return text.substr(0, text.find('\n'));
}

/// Call inside of a catch block only.
Report describe_current_exception() {
  try {
    throw;
  } catch (const Error& error) {
    return {error.exit_code(), error.what()};
  } catch (const std::bad_alloc&) {
    return {static_cast<int>(Fault::kIo), std::string(kOutOfMemory)};
  } catch (const std::exception& error) {
    const std::string_view text = first_line(error.what());
    if (text.find("can't allocate memory") != std::string_view::npos) {  // LibTorch's words
      return {static_cast<int>(Fault::kIo), std::string(kOutOfMemory)};
    }
    return {static_cast<int>(Fault::kBug), fmt::format("{}; this is a mistake of the program, please report it", text)};
  }
}

void tell(std::string_view text) {
  while (!text.empty()) {
    log::error("{}", first_line(text));
    text.remove_prefix(std::min(first_line(text).size() + 1, text.size()));
  }
}

}  // namespace

std::optional<int> launched_rank() {
  const comm::Environment environment = comm::current_environment();
  constexpr std::array<const char*, 4> kRankVariables{"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID"};
  for (const char* name : kRankVariables) {
    if (const auto found = environment.find(name); found != environment.end()) {
      return std::atoi(found->second.c_str());
    }
  }
  return std::nullopt;
}

bool speaks_for_all() {
  return launched_rank().value_or(0) == 0;
}

int report_current_exception(bool silent) {
  const Report report = describe_current_exception();
  if (silent) {
    // A launcher ends the job at the first rank that fails, and what rank 0 has not yet said is lost (Open MPI 5).
    std::this_thread::sleep_for(kGraceForRank0);
  } else {
    tell(report.text);
  }
  return report.exit_code;
}

int run_on_ranks(const std::function<int(comm::Communicator&)>& body, Heartbeat* heartbeat) {
  std::unique_ptr<comm::Communicator> world = comm::make_world();
  if (heartbeat != nullptr) {
    world = comm::watched(std::move(world), *heartbeat);
  }
  const comm::Identity& identity = world->identity();
  log::set_speaker(identity.rank, identity.size, identity.host);
  Report report;
  try {
    const int exit_code = body(*world);
    world->finalize();
    return exit_code;
  } catch (const AgreedError& error) {
    if (identity.rank == 0) {
      error.fault() == Fault::kRequeue ? log::info("{}", error.what()) : tell(error.what());
    }
    world->finalize();
    return error.exit_code();
  } catch (...) {
    report = describe_current_exception();
  }
  if (identity.size == 1) {
    tell(report.text);
    world->finalize();
    return report.exit_code;
  }
  if (identity.rank > 0) {
    std::this_thread::sleep_for(kGraceForRank0);
  }
  tell(report.text);
  world->abort(report.exit_code);
  return report.exit_code;
}

}  // namespace dormer::cli
