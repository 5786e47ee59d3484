#include "train/agreement.hpp"

#include <algorithm>
#include <cstdint>
#include <exception>
#include <optional>
#include <span>

#include <c10/util/Exception.h>
#include <fmt/ranges.h>

#include "dormer/comm/gather.hpp"
#include "dormer/core/buffer_view.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/sha256.hpp"

namespace dormer::train {
std::optional<Failure> caught(const std::function<void()>& body) {
  try {
    body();
    return std::nullopt;
  } catch (const Error& error) {
    return Failure{error.fault(), error.what()};
  } catch (const c10::OutOfMemoryError& error) {
    const std::string text = error.what_without_backtrace();
    return Failure{Fault::kIo, fmt::format("the GPU's memory is full ({}); use a smaller batch.micro, a shorter "
                                           "data.sequence_length or run.recompute: true",
                                           text.substr(0, text.find('\n')))};
  } catch (const std::bad_alloc&) {
    return Failure{
        Fault::kIo,
        "out of memory; use fewer ranks on this machine, a smaller batch.micro or a shorter data.sequence_length"};
  } catch (const std::exception& error) {
    return Failure{Fault::kBug, error.what()};
  }
}

void throw_as_one(comm::Communicator& communicator, Fault fault, int rank, const std::optional<Failure>& own) {
  throw AgreedError(fault, comm::broadcast_text(communicator, own ? own->message : std::string(), rank));
}

bool on_any_rank(comm::Communicator& communicator, bool own) {
  std::int64_t found = own ? 1 : 0;
  communicator.all_reduce(view(std::span(&found, 1)), comm::ReduceOp::kMax).wait();
  return found != 0;
}

void agree(comm::Communicator& communicator, const std::function<void()>& body) {
  const std::optional<Failure> failure = caught(body);
  const std::vector<std::int64_t> faults =
      comm::gather_numbers(communicator, failure ? static_cast<std::int64_t>(failure->fault) : 0);
  const auto first = std::find_if(faults.begin(), faults.end(), [](std::int64_t fault) { return fault != 0; });
  if (first == faults.end()) {
    return;
  }
  const int rank = static_cast<int>(first - faults.begin());
  throw_as_one(communicator, static_cast<Fault>(*first), rank, failure);
}

std::string agree_on_text(comm::Communicator& communicator, const std::function<std::string()>& rank0) {
  std::string text;
  agree(communicator, [&] {
    if (communicator.rank() == 0) {
      text = rank0();
    }
  });
  return comm::broadcast_text(communicator, std::move(text), 0);
}

std::vector<int> odd_ranks(const std::vector<std::string>& texts) {
  std::ptrdiff_t most = 0;
  std::string usual;
  for (const std::string& text : texts) {
    if (const std::ptrdiff_t count = std::count(texts.begin(), texts.end(), text); count > most) {
      most = count;
      usual = text;
    }
  }
  std::vector<int> odd;
  for (std::size_t rank = 0; rank < texts.size(); ++rank) {
    if (texts[rank] != usual) {
      odd.push_back(static_cast<int>(rank));
    }
  }
  return odd;
}

void require_equal(comm::Communicator& communicator, std::string_view what, std::string_view own,
                   std::string_view remedy) {
  const std::vector<int> odd = odd_ranks(comm::gather_texts(communicator, sha256_hex(own)));
  if (!odd.empty()) {
    fail_together(Fault::kUsage, "rank{} {} of {} {} another {} than the others: {}", odd.size() > 1 ? "s" : "",
                  fmt::join(odd, ", "), communicator.size(), odd.size() > 1 ? "have" : "has", what, remedy);
  }
}

}  // namespace dormer::train
