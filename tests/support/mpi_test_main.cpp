// The main of test programs that mpirun starts: every rank runs every test.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "dormer/comm/world.hpp"
#include "dormer/core/error.hpp"
#include "support/mpi_world.hpp"

namespace dormer::testing {
namespace {

std::unique_ptr<comm::Communicator>& world_owner() {
  static std::unique_ptr<comm::Communicator> owner;
  return owner;
}

/// Says which rank failed. A test that ended early on one rank leaves the others waiting in its operations, so such a
/// rank ends all.
class RankPrinter final : public ::testing::EmptyTestEventListener {
  void OnTestPartResult(const ::testing::TestPartResult& part) override {
    if (part.failed() && world().rank() != 0) {  // rank 0 has gtest's own printer
      fmt::print(stderr, "[rank {}/{}] {}:{}: {}\n", world().rank(), world().size(),
                 part.file_name() != nullptr ? part.file_name() : "?", part.line_number(), part.message());
    }
  }
  void OnTestEnd(const ::testing::TestInfo& test) override {
    for (int i = 0; i < test.result()->total_part_count(); ++i) {
      if (test.result()->GetTestPartResult(i).fatally_failed() && world().size() > 1) {
        fmt::print(stderr, "[rank {}/{}] {}.{} ended early: ending all ranks\n", world().rank(), world().size(),
                   test.test_suite_name(), test.name());
        std::fflush(nullptr);
        world().abort(1);
      }
    }
  }
};

comm::MpiOptions options_from_environment() {
  comm::MpiOptions options;
  if (const char* text = std::getenv("DORMER_TEST_MPI_PIECE")) {
    options.piece_elements = std::stoll(text);
  }
  return options;
}

}  // namespace

comm::Communicator& world() {
  return *world_owner();
}

}  // namespace dormer::testing

int main(int argc, char** argv) {
  using dormer::testing::world;
  try {
    dormer::testing::world_owner() = dormer::comm::make_world(dormer::testing::options_from_environment());
  } catch (const dormer::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return error.exit_code();
  }
  ::testing::InitGoogleMock(&argc, argv);
  ::testing::TestEventListeners& listeners = ::testing::UnitTest::GetInstance()->listeners();
  if (world().rank() != 0) {
    delete listeners.Release(listeners.default_result_printer());
  }
  listeners.Append(new dormer::testing::RankPrinter);
  std::int64_t result = RUN_ALL_TESTS();
  world().all_reduce({&result, 1, dormer::DType::kI64}, dormer::comm::ReduceOp::kMax).wait();
  world().finalize();
  return static_cast<int>(result);
}
