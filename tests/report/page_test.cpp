#include <cmath>
#include <fstream>
#include <limits>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"
#include "dormer/report/report.hpp"
#include "report/curves.hpp"
#include "report/layers.hpp"
#include "report/page.hpp"
#include "report/scale.hpp"
#include "report/text_count.hpp"
#include "support/temp_directory.hpp"

namespace dormer::report {
namespace {

using dormer::test::TempDirectory;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kHostile = "</script><b a=\"1\" c='2'>&";

Run a_run(const std::string& name = "tiny") {
  Run run{.folder = "runs/" + name, .record = {}, .metrics = {}};
  run.record = {.name = name,
                .state = "finished",
                .exit_code = 0,
                .step = 4,
                .total_steps = 4,
                .facts = {{"ranks", "2"}},
                .config = {{"adapter.rank", "4"}, {"run.seed", "7"}},
                .layers = {{"model.layers.0.q_proj", 0.02, 0.1},
                           {"model.layers.0.v_proj", 0.01, 0.3},
                           {"model.layers.1.q_proj", 0.03, 0.05}}};
  for (std::int64_t step = 0; step <= 4; ++step) {
    const double loss = 3.0 - 0.5 * static_cast<double>(step);
    run.metrics.push_back({step, {}});
    if (step > 0) {
      run.metrics.back().metrics = {
          {"loss", loss}, {"learning_rate", 1e-3}, {"gradient_norm", 0.9}, {"tokens_per_second", 1'000.0 + loss}};
    }
    if (step % 2 == 0) {
      run.metrics.back().metrics.push_back({"validation_loss", step == 2 ? 1.25 : loss});
    }
  }
  return run;
}

/// Lines of a colour, those in legends left out.
std::size_t curves(const std::string& page, int colour) {
  const std::string line = fmt::format("<path class=\"line c{} d0\" d=\"M", colour);
  return count(page, line) - count(page, line + "0 5H28");
}

TEST(RunPage, HasEveryPlotWithItsCurvesAndWords) {
  const std::string page = run_page(a_run(), {});
  for (const char* id : {"plot-loss", "plot-learning-rate", "plot-gradient-norm", "plot-throughput", "plot-layers"}) {
    EXPECT_EQ(count(page, fmt::format("<figure id=\"{}\">", id)), 1U) << id;
    EXPECT_EQ(count(page, fmt::format("id=\"{}-summary\"", id)), 1U) << id;
    EXPECT_EQ(
        count(page,
              fmt::format("<svg viewBox=\"0 0 760 320\" role=\"img\" aria-labelledby=\"{0}-title {0}-summary\"", id)),
        1U)
        << id;
  }
  EXPECT_EQ(curves(page, 0), 4U);  // training loss and the three single curves
  EXPECT_EQ(curves(page, 1), 1U);  // held-out loss
  EXPECT_EQ(count(page, "<title>model.layers.0.v_proj: 0.3, 0.01</title>"), 1U);
  EXPECT_THAT(page,
              AllOf(HasSubstr("Training loss from 2.5 at update 1 to 1 at update 4."),
                    HasSubstr("the best is 1 at update 4"), HasSubstr("Turned furthest: model.layers.0.v_proj"),
                    HasSubstr("Finished. Update 4 of 4."), HasSubstr("<th scope=\"row\">adapter.rank</th><td>4</td>"),
                    HasSubstr("<th scope=\"row\">ranks</th><td>2</td>"),
                    HasSubstr("<th scope=\"row\">exit code</th><td>0</td>"), HasSubstr("still pictures")));
}

TEST(RunPage, FetchesNothing) {
  for (const std::string bundle : {"", "window.Plotly = {};"}) {
    const std::string page = run_page(a_run(), bundle);
    EXPECT_THAT(page, Not(HasSubstr("http:")));
    EXPECT_THAT(page, Not(HasSubstr("https:")));
    EXPECT_THAT(page, Not(HasSubstr("src=")));
    EXPECT_THAT(page, Not(HasSubstr("href=")));
    EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  }
}

TEST(RunPage, EscapesWhatItPrints) {
  report::Run run = a_run();
  run.record.name = run.record.state = kHostile;
  run.record.facts = run.record.config = {{kHostile, kHostile}};
  run.record.layers[0].layer = kHostile;
  const std::string page = run_page(run, "window.Plotly = {};");
  EXPECT_THAT(page, Not(HasSubstr("<b a=")));
  EXPECT_EQ(count(page, "</script>"), 3U);  // the bundle, the numbers, our own
  EXPECT_THAT(page, HasSubstr("&lt;/script&gt;&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;"));
}

TEST(RunPage, CarriesTheBundleAndTheNumbersForIt) {
  const std::string page = run_page(a_run(), "window.Plotly = 'bundle';");
  EXPECT_THAT(page, HasSubstr("<script>window.Plotly = 'bundle';</script>"));
  EXPECT_THAT(page, HasSubstr("{\"name\":\"held-out\",\"mark\":\"line\",\"x\":[0,2,4],\"y\":[3,1.25,1]}"));
  EXPECT_THAT(
      page,
      HasSubstr(
          "{\"name\":\"v_proj\",\"mark\":\"points\",\"x\":[0.3],\"y\":[0.01],\"labels\":[\"model.layers.0.v_proj\"]}"));
  EXPECT_THAT(page, Not(HasSubstr("still pictures")));
}

TEST(RunPage, ARunWithoutMeasurementsSaysSo) {
  report::Run run = a_run();
  run.metrics.clear();
  run.record.layers.clear();
  run.record.exit_code.reset();
  const std::string page = run_page(run, "window.Plotly = {};");
  EXPECT_THAT(page, AllOf(HasSubstr("No held-out loss was measured."), HasSubstr("Not measured yet."),
                          HasSubstr("none yet"), HasSubstr("id=\"plots\">[]</script>")));
  EXPECT_THAT(page, Not(HasSubstr("nan")));
}

TEST(ComparisonPage, OverlaysTheRunsAndShowsWhereTheyDiffer) {
  std::vector<report::Run> runs{a_run("lora"), a_run("dora")};
  runs[1].record.config[0].second = "64";
  runs[1].record.config.emplace_back("adapter.decompose.axis", "output");
  const std::string page = comparison_page(runs, {});
  for (const char* id : {"plot-held-out-loss", "plot-loss", "plot-learning-rate", "plot-gradient-norm",
                         "plot-throughput", "plot-layers"}) {
    EXPECT_EQ(count(page, fmt::format("<figure id=\"{}\">", id)), 1U) << id;
  }
  EXPECT_EQ(curves(page, 1), 5U);  // a second curve in each
  EXPECT_THAT(page, AllOf(HasSubstr("<th scope=\"row\">adapter.rank</th><td>4</td><td>64</td>"),
                          HasSubstr("<th scope=\"row\">adapter.decompose.axis</th><td>not set</td><td>output</td>"),
                          HasSubstr("At the end: lora: 1; dora: 1."), Not(HasSubstr("run.seed"))));
}

TEST(ComparisonPage, RunsOfOneNameAreNamedByTheirFolders) {
  std::vector<report::Run> runs{a_run(), a_run()};
  runs[1].folder = "elsewhere/tiny";
  EXPECT_THAT(comparison_page(runs, {}), HasSubstr("At the end: runs/tiny: 1; elsewhere/tiny: 1."));
}

TEST(Thinned, KeepsTheEndsAndEverySpike) {
  Series line{.name = "loss", .x = {}, .y = {}, .labels = {}};
  for (int i = 0; i < 100'000; ++i) {
    line.x.push_back(i);
    line.y.push_back(i == 31'415 ? 50.0 : i == 27'182 ? -50.0 : std::sin(i));
  }
  const Series thin = thinned(line, 2'000);
  EXPECT_LE(thin.x.size(), 2'000U);
  EXPECT_GT(thin.x.size(), 1'500U);
  EXPECT_TRUE(std::ranges::is_sorted(thin.x));
  EXPECT_EQ(thin.x.front(), 0.0);
  EXPECT_EQ(thin.x.back(), 99'999.0);
  EXPECT_EQ(*std::ranges::max_element(thin.y), 50.0);
  EXPECT_EQ(*std::ranges::min_element(thin.y), -50.0);
  EXPECT_EQ(thinned(line, 100'000).x.size(), 100'000U);
}

TEST(Ticks, AreRoundAndInside) {
  EXPECT_EQ(ticks(0.0, 10.0), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  for (const double scale : {1e-9, 1.0, 1e12}) {
    const std::vector<double> values = ticks(-0.37 * scale, 1.1 * scale);
    EXPECT_GE(values.size(), 4U);
    EXPECT_LE(values.size(), 9U);
    EXPECT_THAT(values, Each(AllOf(::testing::Ge(-0.37 * scale), ::testing::Le(1.1 * scale))));
  }
}

TEST(RunRecord, ReadsBackWhatItWrote) {
  const TempDirectory folder;
  const RunRecord record = a_run().record;
  std::ofstream(folder.path() / "metrics.jsonl") << "{\"step\":1,\"loss\":2.0}\n";
  std::ofstream(folder.path() / "report.json") << to_text(record);
  const report::Run run = read_run(folder.path());
  EXPECT_EQ(to_text(run.record), to_text(record));
  EXPECT_EQ(run.record.exit_code, 0);
  EXPECT_EQ(run.record.layers.at(1).direction, 0.3);
  EXPECT_EQ(run.metrics.size(), 1U);
}

TEST(RunRecord, ALayerThatDivergedIsReadBackAndLeftOutOfThePlot) {
  report::Run run = a_run();
  run.record.layers[1].magnitude = std::numeric_limits<double>::infinity();
  run.record = parse_run_record(to_text(run.record), "here");
  const std::string page = run_page(run, {});
  EXPECT_THAT(page, HasSubstr("2 layers after update 4. Turned furthest: model.layers.0.q_proj"));
  EXPECT_THAT(page, Not(HasSubstr("cx=\"nan")));
}

TEST(RunRecord, TextThatIsNotUtf8IsStillARecord) {
  RunRecord record = a_run().record;
  record.name = "caf\xE9";
  EXPECT_EQ(parse_run_record(to_text(record), "here").name, "caf\xEF\xBF\xBD");
}

void expect_error(const std::filesystem::path& folder, Fault fault, const std::string& text) {
  try {
    static_cast<void>(read_run(folder));
    FAIL() << text;
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), fault) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(text));
  }
}

TEST(RunRecord, NamesWhatIsNoRun) {
  const TempDirectory folder;
  expect_error(folder.path() / "nowhere", Fault::kUsage, "no such folder");
  expect_error(folder.path(), Fault::kInput, "holds no metrics.jsonl");
  std::ofstream(folder.path() / "metrics.jsonl") << "";
  EXPECT_EQ(read_run(folder.path() / "").record.name, folder.path().filename().string());
  std::ofstream(folder.path() / "report.json") << "{}";
  expect_error(folder.path(), Fault::kInput, "report.json holds no record of a run");
}

}  // namespace
}  // namespace dormer::report
