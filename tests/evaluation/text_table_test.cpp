#include "support/test.h"

#include <cmath>

#include "core/error.h"
#include "evaluation/assemble.h"
#include "evaluation/text_table.h"

using namespace keel::evaluation;

TEST_CASE("text table: intervals, numbers and what is missing stand aligned", "[evaluation]") {
  const std::vector<MeasuredModel> models = {{"sft", {{"help", {0.62, 0.58, 0.66}}}, {}},
                                             {"ppo", {{"help", {0.745, 0.701, 0.789}}, {"kl", {12.34, 9.87, 15.1}}}, {}}};
  Table table = measure_table("Summary", {{"help", "gold helpfulness"}, {"kl", "KL", 1}}, models);
  table.note = "n = 200.";
  CHECK(render_text(table) ==
        "Summary\n"
        "\n"
        "model   gold helpfulness                KL\n"
        "-----  -----------------  ----------------\n"
        "sft    0.62 [0.58, 0.66]     -\n"
        "ppo    0.74 [0.70, 0.79]  12.3 [9.9, 15.1]\n"
        "\n"
        "n = 200.\n");
}

TEST_CASE("text table: negative bounds, NaN and minus zero", "[evaluation]") {
  CHECK(interval_cell({0.031, -0.012, 0.074}).text == "0.03");
  CHECK(interval_cell({0.031, -0.012, 0.074}).detail == "[-0.01, 0.07]");
  CHECK(number_cell(-0.001).text == "0.00");
  CHECK(number_cell(-0.01).text == "-0.01");
  CHECK(number_cell(NAN).text == "NaN");
  CHECK(number_cell(-INFINITY).text == "-inf");
  CHECK(number_cell(1234.5678, 3).text == "1234.568");
}

TEST_CASE("text table: widths count characters, not bytes, and no control character passes", "[evaluation]") {
  const Table table{"", {{"name"}, {"x", ColumnKind::number}}, {{"\xc3\xa9t\xc3\xa9", "1"}, {"a\x1b[31mb", "22"}}, ""};
  CHECK(render_text(table) ==
        "name      x\n"
        "-------  --\n"
        "\xc3\xa9t\xc3\xa9       1\n"
        "a?[31mb  22\n");
}

TEST_CASE("text table: a row of another width is refused", "[evaluation]") {
  CHECK_THROWS_AS(render_text(Table{"t", {{"a"}, {"b"}}, {{"1"}}, ""}), keel::core::Error);
  CHECK(render_text(Table{"", {{"a"}}, {}, ""}) == "a\n-\n");
}

TEST_CASE("assemble: durations read as people say them", "[evaluation]") {
  CHECK(duration_text(0.44) == "0.4 s");
  CHECK(duration_text(9.96) == "10 s");
  CHECK(duration_text(59.6) == "1 min 00 s");
  CHECK(duration_text(185) == "3 min 05 s");
  CHECK(duration_text(7620) == "2 h 07 min");
  CHECK(duration_text(NAN) == "unknown");
}

TEST_CASE("assemble: a metric's curve holds the steps that logged it", "[evaluation]") {
  const std::vector<keel::core::MetricPoint> points = {{1, {{"loss", 3.0}}}, {2, {{"loss", 2.0}, {"val", 2.5}}}, {3, {{"loss", NAN}}}};
  const Series loss = metric_series("train", points, "loss"), validation = metric_series("validation", points, "val");
  CHECK(loss.x == std::vector<double>{1, 2, 3});
  CHECK(std::isnan(loss.y[2]));
  CHECK(validation.x == std::vector<double>{2});
  CHECK(validation.y == std::vector<double>{2.5});
}

TEST_CASE("assemble: an interval plot holds the models that have the measure", "[evaluation]") {
  const std::vector<MeasuredModel> models = {{"sft", {}, {}}, {"ppo", {{"win", {0.6, 0.55, 0.65}}}, {{"win", 200}}}};
  const IntervalPlot plot = measure_plot("Win rate", {"win", "win rate", 3}, models, {{0.5, "no change"}});
  REQUIRE(plot.rows.size() == 1);
  CHECK(plot.rows[0].label == "ppo");
  CHECK(plot.rows[0].n == 200);
  CHECK(plot.digits == 3);
}
