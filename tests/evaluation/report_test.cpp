#include "support/test.h"

#include <cmath>
#include <vector>

#include "core/error.h"
#include "evaluation/figures.h"
#include "evaluation/report.h"
#include "evaluation/statistics/interval.h"

using namespace keel::evaluation;
using Catch::Matchers::ContainsSubstring;

namespace {

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size()))
    ++count;
  return count;
}

// Every opened element is closed in order (the page is written as well-formed XML but for <meta>, <!DOCTYPE>).
bool balanced(const std::string& page) {
  std::vector<std::string> open;
  for (size_t at = page.find('<'); at != std::string::npos; at = page.find('<', at + 1)) {
    const size_t end = page.find('>', at);
    if (end == std::string::npos) return false;
    const bool closes = page[at + 1] == '/';
    const size_t from = at + (closes ? 2 : 1);
    const std::string name = page.substr(from, page.find_first_of(" >/", from) - from);
    if (name == "!DOCTYPE" || name == "meta" || page[end - 1] == '/') continue;
    if (!closes) {
      open.push_back(name);
    } else if (open.empty() || open.back() != name) {
      return false;
    } else {
      open.pop_back();
    }
  }
  return open.empty();
}

std::string page_of(Block block) {
  Report report;
  report.title = "t";
  report.sections.push_back({"s", "", {std::move(block)}, false});
  return render_html(report);
}

Report full_report() {
  Report report{"A run", "subtitle", {{"seed", "1"}}, {"sft", "ppo"}, {}, {}};
  report.summary = {"Summary", {{"model"}, {"help", ColumnKind::number}}, {{"sft", interval_cell({0.62, 0.58, 0.66})}}, "note"};
  Section section{"Curves", "First.\n\nSecond.", {}, true};
  section.blocks.push_back(
      LinePlot{"Loss", "step", "nats", {{"train", {1, 2, 3}, {3, 2, 1}, {2, 1, 0}, {4, 3, 2}}}, {{1.5, "ref"}}, "file"});
  section.blocks.push_back(HistogramPlot{"Scores", "logit", "share", {{"sft", {1, 2, 2, 3}}, {"ppo", {2, 3, 3, 4}}}, {{2.5, "gate"}}, ""});
  section.blocks.push_back(Table{"Lineage", {{"stage"}, {"key", ColumnKind::code}}, {{"sft", "ab12"}}, ""});
  section.blocks.push_back(
      IntervalPlot{"Accuracy", "accuracy", {{"all", statistics::wilson(8, 10), 10, "help"}}, {{0.5, "chance"}}, 2, ""});
  section.blocks.push_back(ScatterPlot{"Gold", "proxy", "gold", {{"ppo", {1, 2, 3}, {1, 3, 2}, {}, {}}}, ""});
  section.blocks.push_back(BarPlot{"Time", "s", {{"sft", 12, "12 s"}, {"ppo", 0, ""}}, ""});
  section.blocks.push_back(GraphPlot{"Steps", {{"data", "ab", {}}, {"sft", "cd", {0}}, {"ppo", "ef", {0, 1}}}, ""});
  section.blocks.push_back(
      HeatPlot{"Attention", "token", "layer", "Share", {"1", "2"}, {{"layer 1", {0, 0.25}}, {"layer 2", {0.5, 0.125}}}, ""});
  section.blocks.push_back(SampleDialogue{"hazard", {{"user", "Hi"}}, {{"sft", "Hello", {{"gold", 0.5}}}, {"ppo", "", {}}}});
  report.sections.push_back(section);
  return report;
}

}  // namespace

TEST_CASE("report: equal input gives equal bytes, well-formed and without network or script", "[evaluation]") {
  const std::string page = render_html(full_report());
  CHECK(page == render_html(full_report()));
  CHECK(balanced(page));
  CHECK_THAT(page,
             ContainsSubstring("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"));
  for (const char* forbidden : {"http:", "https:", "<script", "src=", "url(", "@import", "<link", "javascript:", " on"}) {
    // " on" would open an event handler inside a tag
    for (size_t at = page.find('<'); at != std::string::npos; at = page.find('<', at + 1)) {
      const std::string tag = page.substr(at, page.find('>', at) - at);
      REQUIRE_THAT(tag, !ContainsSubstring(forbidden));
    }
    if (std::string(forbidden) != " on") CHECK_THAT(page, !ContainsSubstring(forbidden));
  }
}

TEST_CASE("report: every figure has a role, a title, a description, axis labels and its data", "[evaluation]") {
  const std::string page = render_html(full_report());
  CHECK(count_of(page, "<figure>") == 7);
  CHECK(count_of(page, "role=\"img\" aria-labelledby=") == 7);
  CHECK(count_of(page, "<details>") == 7);
  CHECK(count_of(page, "<desc id=") == 7);
  for (const char* label : {">step<", ">nats<", ">logit<", ">share<", ">accuracy<", ">proxy<", ">gold<", ">s<"})
    CHECK(count_of(page, label) >= 1);
  CHECK_THAT(page, ContainsSubstring("0.80 [0.49, 0.94]"));  // Wilson, 8 of 10
  CHECK_THAT(page, ContainsSubstring("rank correlation 0.50"));
  CHECK_THAT(page, ContainsSubstring("<p>First.</p>\n<p>Second.</p>"));
  CHECK_THAT(page, ContainsSubstring("(empty)"));
}

TEST_CASE("report: a matrix is drawn as cells, the darkest for the largest value; a wrong width is refused", "[evaluation]") {
  const std::string page = render_html(full_report());
  CHECK(count_of(page, "<rect") == 4);
  for (const char* opacity : {"fill-opacity=\"0.00\"", "fill-opacity=\"0.50\"", "fill-opacity=\"1.00\"", "fill-opacity=\"0.25\""})
    CHECK(count_of(page, opacity) == 1);
  Report report = full_report();
  report.sections[0].blocks = {HeatPlot{"h", "x", "y", "v", {"1", "2"}, {{"row", {1}}}, ""}};
  CHECK_THROWS_AS(render_html(report), keel::core::Error);
}

TEST_CASE("report: no text of a model or a file becomes markup", "[evaluation]") {
  const std::string evil = "<script>alert(\"x\")</script><img src=x onerror='y'>";
  Report report{evil, evil, {{evil, evil}}, {evil}, {}, {}};
  report.summary = {evil, {{evil}}, {{Cell(evil, evil)}}, evil};
  Section section{evil, evil, {}, false};
  section.blocks.push_back(Table{evil, {{evil, ColumnKind::code}}, {{evil}}, evil});
  section.blocks.push_back(LinePlot{evil, evil, evil, {{evil, {1, 2}, {1, 2}, {}, {}}, {evil + "2", {1}, {1}, {}, {}}}, {{1, evil}}, evil});
  section.blocks.push_back(HistogramPlot{evil, evil, evil, {{evil, {1, 2}}}, {{1.5, evil}}, evil});
  section.blocks.push_back(IntervalPlot{evil, evil, {{evil, {1, 0, 2}, 3, evil}}, {{1, evil}}, 2, evil});
  section.blocks.push_back(ScatterPlot{evil, evil, evil, {{evil, {1, 2}, {1, 2}, {}, {}}}, evil});
  section.blocks.push_back(BarPlot{evil, evil, {{evil, 1, evil}}, evil});
  section.blocks.push_back(GraphPlot{evil, {{evil, evil, {}}}, evil});
  section.blocks.push_back(HeatPlot{evil, evil, evil, evil, {evil}, {{evil, {1}}}, evil});
  section.blocks.push_back(SampleDialogue{evil, {{evil, evil}}, {{evil, evil, {{evil, 1}}}}});
  report.sections.push_back(section);
  const std::string page = render_html(report);
  CHECK(count_of(page, "<script") == 0);
  CHECK(count_of(page, "<img") == 0);
  CHECK(balanced(page));
  CHECK(count_of(page, "&lt;script&gt;alert(&quot;x&quot;)") > 30);
}

TEST_CASE("report: a value that is not finite is a gap with a red mark, never a zero", "[evaluation]") {
  const std::string whole = page_of(LinePlot{"p", "x", "y", {{"", {1, 2, 3, 4}, {1, 2, 3, 4}, {}, {}}}, {}, ""});
  const std::string gap = page_of(LinePlot{"p", "x", "y", {{"", {1, 2, 3, 4, 5}, {1, 2, NAN, 4, INFINITY}, {}, {}}}, {}, ""});
  CHECK(count_of(whole, "class=\"bad\"") == 0);
  CHECK(count_of(gap, "class=\"bad\"") == 2);
  CHECK_THAT(gap, ContainsSubstring("2 values are not finite"));
  CHECK_THAT(gap, ContainsSubstring("<td class=\"num\">NaN</td>"));
  const size_t line = gap.find("<path class=\"line");
  const std::string path = gap.substr(line, gap.find("/>", line) - line);
  CHECK(count_of(path, "M") == 2);    // two pieces
  CHECK(count_of(path, "h0") == 1);   // the lone point between the gaps is a dot
  CHECK(count_of(path, "nan") == 0);  // no coordinate is NaN

  const std::string histogram = page_of(HistogramPlot{"p", "x", "y", {{"a", {1, 2, NAN}}}, {}, ""});
  CHECK(count_of(histogram, "class=\"bad\"") == 1);
  CHECK_THAT(histogram, ContainsSubstring("a: mean 1.50, n = 2"));
  CHECK_THAT(histogram, ContainsSubstring(">0.5<"));  // shares of the two finite values, 1/2 each
  const std::string scatter = page_of(ScatterPlot{"p", "x", "y", {{"a", {1, 2, 3}, {1, NAN, 2}, {}, {}}}, ""});
  CHECK(count_of(scatter, "class=\"bad\"") == 1);
  const std::string bars = page_of(BarPlot{"p", "x", {{"a", NAN, ""}, {"b", 2, ""}}, ""});
  CHECK(count_of(bars, "class=\"bad\"") == 1);
  const std::string intervals = page_of(IntervalPlot{"p", "x", {{"a", {NAN, NAN, NAN}, 5, ""}, {"b", {1, 0, 2}, 5, ""}}, {}, 2, ""});
  CHECK(count_of(intervals, "class=\"bad\"") == 1);
}

TEST_CASE("report: a curve that is NaN throughout gets one red mark for each few pixels", "[evaluation]") {
  Series series{"", {}, {}, {}, {}};
  for (int i = 0; i < 5000; ++i) {
    series.x.push_back(i);
    series.y.push_back(NAN);
  }
  const std::string page = page_of(LinePlot{"p", "x", "y", {series}, {}, ""});
  CHECK(count_of(page, "class=\"bad\"") > 50);
  CHECK(count_of(page, "class=\"bad\"") < 120);
  CHECK_THAT(page, ContainsSubstring("5000 values are not finite"));
}

TEST_CASE("report: nothing to show, one point and all values equal are drawn without a fault", "[evaluation]") {
  const std::vector<Block> blocks = {
      LinePlot{"p", "x", "y", {}, {}, ""},
      LinePlot{"p", "x", "y", {{"a", {}, {}, {}, {}}}, {}, ""},
      LinePlot{"p", "x", "y", {{"a", {3}, {4}, {4}, {4}}}, {}, ""},
      LinePlot{"p", "x", "y", {{"a", {NAN}, {NAN}, {}, {}}}, {{NAN, "r"}}, ""},
      HistogramPlot{"p", "x", "y", {}, {}, ""},
      HistogramPlot{"p", "x", "y", {{"a", {}}, {"b", {NAN}}}, {}, ""},
      HistogramPlot{"p", "x", "y", {{"a", {5, 5, 5}}}, {}, ""},
      HistogramPlot{"p", "x", "y", {{"a", {0, 1e16, 3e-300}}}, {}, ""},
      IntervalPlot{"p", "x", {}, {}, 2, ""},
      IntervalPlot{"p", "x", {{"a", statistics::wilson(0, 0), 0, ""}}, {}, 2, ""},
      IntervalPlot{"p", "x", {{"a", {0.5, 0.5, 0.5}, 1, ""}}, {}, 2, ""},
      ScatterPlot{"p", "x", "y", {}, ""},
      ScatterPlot{"p", "x", "y", {{"a", {1}, {1}, {}, {}}, {"b", {NAN}, {NAN}, {}, {}}}, ""},
      BarPlot{"p", "x", {}, ""},
      BarPlot{"p", "x", {{"a", 0, ""}, {"b", -1, ""}}, ""},
      GraphPlot{},
      HeatPlot{},
      Table{},
      SampleDialogue{},
  };
  for (const Block& block : blocks) {
    const std::string page = page_of(block);
    INFO("block of kind " << block.index());
    CHECK(balanced(page));
    for (size_t at = page.find(" d=\""); at != std::string::npos; at = page.find(" d=\"", at + 1)) {
      const std::string path = page.substr(at, page.find('"', at + 4) - at);
      REQUIRE_THAT(path, !ContainsSubstring("nan") && !ContainsSubstring("inf"));
    }
  }
  CHECK_THAT(page_of(blocks[1]), ContainsSubstring(">no data<"));
  CHECK_THAT(page_of(blocks[9]), ContainsSubstring(">no data<"));
}

TEST_CASE("report: unequal lengths are refused with the series' name", "[evaluation]") {
  CHECK_THROWS_WITH(page_of(LinePlot{"p", "x", "y", {{"loss", {1, 2}, {1}, {}, {}}}, {}, ""}),
                    ContainsSubstring("series 'loss': 2 x, 1 y"));
  CHECK_THROWS_AS(page_of(LinePlot{"p", "x", "y", {{"a", {1}, {1}, {1}, {}}}, {}, ""}), keel::core::Error);
  CHECK_THROWS_AS(page_of(ScatterPlot{"p", "x", "y", {{"a", {1}, {}, {}, {}}}, ""}), keel::core::Error);
  CHECK_THROWS_AS(page_of(Table{"t", {{"a"}}, {{"1", "2"}}, ""}), keel::core::Error);
}

TEST_CASE("report: the largest run stays below 2 MB and says what it leaves out", "[evaluation]") {
  Report report;
  report.title = "large";
  Section section{"s", "", {}, false};
  Series series{"a", {}, {}, {}, {}};
  for (int i = 0; i < 20000; ++i) {
    series.x.push_back(i);
    series.y.push_back(std::sin(i * 0.7) * i);
    series.low.push_back(series.y.back() - 1);
    series.high.push_back(series.y.back() + 1);
  }
  for (int i = 0; i < 30; ++i)
    section.blocks.push_back(LinePlot{"l", "x", "y", {series, series}, {}, ""});
  for (int i = 0; i < 5; ++i)
    section.blocks.push_back(ScatterPlot{"g", "x", "y", {{"a", series.x, series.y, {}, {}}}, ""});
  for (int i = 0; i < 40; ++i) {
    section.blocks.push_back(SampleDialogue{"d", {{"user", std::string(50000, '<')}}, {{"m", std::string(50000, '&'), {}}}});
  }
  section.blocks.push_back(Table{"t", {{"a"}}, std::vector<std::vector<Cell>>(100000, {"cell"}), ""});
  report.sections.push_back(section);
  const std::string page = render_html(report);
  CHECK(page.size() <= 2'000'000);
  CHECK(page.size() > 400'000);  // the limit is used, not undercut
  CHECK(balanced(page));
  for (const char* said : {"more bytes are not shown", "rows in all", "of 100000 rows", "Thinned", "One point in"}) {
    CHECK_THAT(page, ContainsSubstring(said));
  }
}

TEST_CASE("report: a graph draws the arcs that no chain implies, and refuses steps that read later ones", "[evaluation]") {
  const std::string page = page_of(GraphPlot{"g", {{"a", "", {}}, {"b", "", {0}}, {"c", "", {0, 1}}, {"d", "", {0}}}, ""});
  CHECK(count_of(page, "<path class=\"axis\"") == 3);    // a-b, b-c, a-d; a-c goes by b
  CHECK_THAT(page, ContainsSubstring("<td>a, b</td>"));  // the table has them all
  CHECK_THROWS_AS(page_of(GraphPlot{"g", {{"a", "", {1}}, {"b", "", {}}}, ""}), keel::core::Error);
}

TEST_CASE("report: a model keeps its colour from figure to figure", "[evaluation]") {
  CHECK(slots({"ppo", "train", "sft", "validation"}, {"base", "sft", "ppo"}) == std::vector<size_t>{2, 0, 1, 3});
  CHECK(slots({"a", "b", "a"}, {}) == std::vector<size_t>{0, 1, 0});
  CHECK(slots({}, {"base"}).empty());
}
