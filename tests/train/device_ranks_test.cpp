// Started by mpirun with the simulated GPU's module: runs on devices whose memory the host cannot touch, joined by our
// NCCL communicator, must give the bytes that the functors of the launches give on the host.
#include <cstdlib>

#include <ATen/core/Tensor.h>
#include <dlfcn.h>
#include <gmock/gmock.h>

#include "dormer/comm/single.hpp"
#include "dormer/core/atomic_file.hpp"
#include "dormer/device/cuda_module.hpp"
#include "dormer/kernels/kernels.hpp"
#include "dormer/parallel/plan.hpp"
#include "dormer/tensor/device_kernels.hpp"
#include "dormer/train/evaluate.hpp"
#include "dormer/train/run.hpp"
#include "simulated_gpu/simulation.hpp"
#include "support/mpi_world.hpp"
#include "train/placement.hpp"
#include "train/ranks_run.hpp"
#include "train/trace_file.hpp"

namespace dormer::train {
namespace {

using ::testing::HasSubstr;

/// The counts of the module that the program has loaded.
testing::SimulationCounts& simulation() {
  void* handle = dlopen(std::getenv("DORMER_CUDA_MODULE"), RTLD_NOW | RTLD_LOCAL);
  void* symbol = dlsym(handle, testing::kSimulationCountsSymbol);
  return *reinterpret_cast<testing::SimulationCountsFunction>(symbol)();
}

class DeviceRanks : public RanksTest {
 protected:
  /// LibTorch counts its devices in the first backward pass, and the references run theirs on the host.
  static void SetUpTestSuite() { static_cast<void>(device::load_cuda_module()); }

  [[nodiscard]] RunConfig config(const std::string& run) const { return placed(tiny_->config(run)); }

  /// On the devices, with the products that a device has.
  [[nodiscard]] static RunConfig placed(RunConfig config) {
    config.run.device = "cuda";
    config.run.deterministic = true;
    config.run.linear = "plain";
    return config;
  }

  /// What one rank's host makes of it with the functors of the launches.
  void train_by_functors(RunConfig config, const std::string& run, const TrainOptions& options = {}) const {
    if (testing::world().rank() == 0) {
      const auto functors = kernels::functor_loops();
      const tensor::KernelsReplaced replaced(*functors);
      config.run.device = "cpu";
      config.run.directory = tiny_->folder() / run;
      const std::unique_ptr<comm::Communicator> single = comm::single();
      train(config, *single, options);
    }
    testing::world().barrier();
  }
};

TEST_F(DeviceRanks, GiveTheBytesOfTheHost) {
  const TrainOptions options{.traced = {2, 2}, .on_progress = nullptr};
  for (const bool recompute : {false, true}) {
    RunConfig together = config(recompute ? "recomputed" : "together");
    together.adapter.dropout = 0.25;
    together.run.recompute = recompute;
    const std::string alone = recompute ? "host-recomputed" : "host";
    train_by_functors(together, alone, options);
    train(together, testing::world(), options);
    expect_equal_runs(alone, together.run.directory.filename().string());
    if (testing::world().rank() == 0) {
      const auto trace = [&](const std::filesystem::path& run) {
        return read_file(run / "trace/update-000000002.safetensors", "trace");
      };
      EXPECT_EQ(trace(tiny_->folder() / alone), trace(together.run.directory));
    }
  }
}

TEST_F(DeviceRanks, GiveTheBytesOfTheHostWithWholeWeightsAndWithoutSharding) {
  RunConfig mixed = config("mixed");
  mixed.adapter.overrides = {{.match = "down_proj", .kind = "full"}, {.match = "layers.0.*", .stop_after = 3}};
  mixed.batch.global = 10;  // five micro-batches
  mixed.parallel.shard_optimizer = false;
  train_by_functors(mixed, "host");
  train(mixed, testing::world());
  expect_equal_runs("host", "mixed");
}

TEST_F(DeviceRanks, GiveTheBytesOfTheHostWithAddedTokensInBfloat16) {
  for (const bool tied : {true, false}) {
    RunConfig tokens = placed(tiny_->config_with_added_tokens(tied ? "tied" : "separate", tied));
    tokens.model.dtype = "auto";  // bfloat16 on GPUs
    const std::string alone = tied ? "host-tied" : "host-separate";
    RunConfig reference = tokens;
    reference.model.dtype = "bfloat16";
    train_by_functors(reference, alone);
    train(tokens, testing::world());
    expect_equal_runs(alone, tokens.run.directory.filename().string());
  }
}

TEST_F(DeviceRanks, GoOnFromTheirCheckpoints) {
  const auto constant = [&](const std::string& run, std::int64_t steps) {
    RunConfig result = config(run);
    result.run.steps = steps;
    result.schedule.kind = "constant";
    result.schedule.extend = "stretch";
    return result;
  };
  train(constant("whole", 6), testing::world());
  train(constant("resumed", 4), testing::world());
  train(constant("resumed", 6), testing::world());
  expect_equal_runs("whole", "resumed");
}

/// Sums in the order of buckets; see `expect_close_runs`.
TEST_F(DeviceRanks, SumFastByDefault) {
  RunConfig exact = config("exact");
  exact.run.steps = 20;
  train(exact, testing::world());
  RunConfig fast = exact;
  fast.run.deterministic = false;
  fast.run.directory = tiny_->folder() / "fast";
  const std::int64_t before = simulation().from_backward;
  train(fast, testing::world());
  EXPECT_EQ(simulation().from_backward > before, testing::world().size() > 1) << "buckets go during backward passes";
  if (testing::world().rank() == 0) {
    expect_close_runs(exact.run.directory, fast.run.directory);
  }
  testing::world().barrier();
}

TEST_F(DeviceRanks, SendTheirBucketsBeforeTheLastBackwardPassEnds) {
  if (testing::world().size() == 1) {
    return;  // no buckets are sent
  }
  const Placement placement = take_device(testing::world(), "cuda");
  const auto joined = join_devices(testing::world(), placement);
  for (const bool recompute : {false, true}) {
    RunConfig fast = config("fast");
    fast.run.recompute = recompute;
    fast.parallel.reduction = "fast";
    TrialSetup setup(fast, {testing::world(), *joined, placement.device});
    std::vector<std::int64_t> at_end;  // operations that were called when each micro-batch's backward pass ended
    UpdateTrace trace;
    const std::int64_t before = simulation().operations;
    trace.backward_ended = [&] { at_end.push_back(simulation().operations - before); };
    setup.trial.update(setup.inputs(0), &trace);
    std::vector<std::int64_t> expected(at_end.size(), 0);
    expected.back() = std::ssize(setup.trial.plan().buckets);
    EXPECT_GT(expected.back(), 4) << "else this shows little";
    EXPECT_EQ(at_end, expected);
  }
  joined->finalize();
}

TEST_F(DeviceRanks, AFailureInTheDevicesThreadIsTheErrorOfAll) {
  if (testing::world().size() == 1) {
    return;  // no buckets are sent
  }
  const Placement placement = take_device(testing::world(), "cuda");
  const auto joined = join_devices(testing::world(), placement);
  RunConfig fast = config("fast");
  fast.parallel.reduction = "fast";
  const auto failing = std::make_unique<FailingCommunicator>(*joined, /*rank=*/1, /*call=*/3);
  TrialSetup setup(fast, {testing::world(), *failing, placement.device});
  setup.trial.update(setup.inputs(0), nullptr);
  const at::Tensor before = setup.trial.adapters().space().values().cpu();
  failing->arm();
  try {
    setup.trial.update(setup.inputs(1), nullptr);
    ADD_FAILURE() << "the failure was not noticed on rank " << testing::world().rank();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kIo);
    EXPECT_STREQ(error.what(), "the third bucket of rank 1");
  }
  EXPECT_TRUE(before.equal(setup.trial.adapters().space().values().cpu())) << "parameters as they were";
  joined->finalize();
}

TEST_F(DeviceRanks, WaitForTheDeviceOnceAMicroBatchAndTwiceAnUpdate) {
  const Placement placement = take_device(testing::world(), "cuda");
  const auto joined = join_devices(testing::world(), placement);
  for (const char* reduction : {"exact", "fast"}) {
    RunConfig wanted = config("counted");
    wanted.parallel.reduction = reduction;
    comm::Communicator& gradients = joined ? *joined : testing::world();
    TrialSetup setup(wanted, {testing::world(), gradients, placement.device});
    for (std::int64_t step = 0; step < 2; ++step) {
      const std::int64_t before = simulation().copies_to_host;
      setup.trial.update(setup.inputs(step), nullptr);
      const std::int64_t micro_batches = setup.trial.plan().micro_batches_of(testing::world().rank()).count();
      EXPECT_EQ(simulation().copies_to_host - before, micro_batches + 2)  // losses; squares of the gradient, norms
          << reduction << ", update " << step;
    }
  }
  if (joined) {
    joined->finalize();
  }
}

TEST_F(DeviceRanks, MeasureTheHeldOutLossOfTheRun) {
  const RunConfig wanted = config("run");
  const TrainResult result = train(wanted, testing::world());
  const Evaluation measured =
      evaluate(wanted, testing::world(), {.adapter = wanted.run.directory / "export/peft", .samples = {}});
  EXPECT_EQ(measured.loss, result.best_validation_loss.value_or(0.0));
}

TEST_F(DeviceRanks, RefuseWhatTheirMemoryDoesNotHold) {
  setenv("DORMER_SIMULATED_GPU_BYTES", "900000", 1);  // the base fits, what trains does not
  try {
    train(config("full"), testing::world());
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kUsage);
    EXPECT_THAT(error.what(), ::testing::AllOf(HasSubstr("this run needs at least"), HasSubstr("gradients"),
                                               HasSubstr("activations"), HasSubstr("a smaller batch.micro")));
  }
  unsetenv("DORMER_SIMULATED_GPU_BYTES");
}

}  // namespace
}  // namespace dormer::train
