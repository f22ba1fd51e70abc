#include "support/test.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "evaluation/svg.h"

using namespace keel::evaluation;

TEST_CASE("svg: markup, quotes, control characters and broken UTF-8 are harmless text", "[evaluation]") {
  CHECK(escape("<script>alert('1' & \"2\")</script>") == "&lt;script&gt;alert(&#39;1&#39; &amp; &quot;2&quot;)&lt;/script&gt;");
  CHECK(escape("a\tb\nc") == "a\tb\nc");
  CHECK(escape(std::string_view("\0\x1b\x7f", 3)) == "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  CHECK(escape("caf\xc3\xa9 \xf0\x9f\x90\x9f") == "caf\xc3\xa9 \xf0\x9f\x90\x9f");
  CHECK(escape("cut \xf0\x9f\x90") == "cut \xEF\xBF\xBD");                   // one ill-formed piece, one mark
  CHECK(escape("\xc0\xbcscript>") == "\xEF\xBF\xBD\xEF\xBF\xBDscript&gt;");  // an over-long '<'
}

TEST_CASE("svg: cutting a text never cuts a character", "[evaluation]") {
  CHECK(cut_text("abc", 3) == "abc");
  CHECK(cut_text("ab\xc3\xa9", 3) == "ab");
  CHECK(cut_text("\xf0\x9f\x90\x9f", 3).empty());
}

TEST_CASE("svg: ticks are round, inside the range and never -0", "[evaluation]") {
  CHECK(ticks({0, 1}, 5).labels == std::vector<std::string>{"0", "0.2", "0.4", "0.6", "0.8", "1.0"});
  CHECK(ticks({-0.31, 0.29}, 5).labels == std::vector<std::string>{"-0.2", "0", "0.2"});
  CHECK(ticks({0, 60000}, 3).labels == std::vector<std::string>{"0", "20k", "40k", "60k"});
  CHECK(ticks({0, 2.2e6}, 4).labels == std::vector<std::string>{"0", "1M", "2M"});
  CHECK(ticks({0, 3e-6}, 3).labels == std::vector<std::string>{"0", "1e-06", "2e-06", "3e-06"});
  CHECK(ticks({0, 2}, 5, true).labels == std::vector<std::string>{"0", "1", "2"});
}

TEST_CASE("svg: extreme ranges stay finite", "[evaluation]") {
  for (const Range range : {Range{0, 0}, Range{5, 5}, Range{1e16, 1e16 + 2}, Range{-9e299, 9e299}, Range{0, 5e-324}, Range{}}) {
    const Range padded = range.padded(0.05);
    INFO(range.low << " " << range.high);
    REQUIRE(padded.low < padded.high);
    const Ticks marks = ticks(padded, 5);
    CHECK(!marks.values.empty());
    CHECK(marks.values.size() <= 12);
    CHECK(std::all_of(marks.values.begin(), marks.values.end(), [](double value) { return std::isfinite(value); }));
  }
}

TEST_CASE("svg: thinning keeps spikes, the ends and a sign of every gap", "[evaluation]") {
  Series series;
  for (int i = 0; i < 100000; ++i) {
    series.x.push_back(i);
    series.y.push_back(std::sin(0.01 * i));
  }
  series.y[54321] = 40;
  series.y[12345] = -40;
  series.y[77777] = NAN;
  const std::vector<size_t> kept = thin(series, 2000);
  CHECK(kept.size() <= 2000);
  CHECK(kept.size() > 1000);
  CHECK(std::is_sorted(kept.begin(), kept.end()));
  const std::set<size_t> all(kept.begin(), kept.end());
  CHECK(all.size() == kept.size());
  for (const size_t needed : {0, 54321, 12345, 77777, 99999})
    CHECK(all.contains(needed));

  series.low = series.high = series.y;
  series.high[33333] = 99;
  const std::vector<size_t> with_band = thin(series, 2000);
  CHECK(with_band.size() <= 2000);
  CHECK(std::binary_search(with_band.begin(), with_band.end(), size_t{33333}));
}

TEST_CASE("svg: a short series is kept whole", "[evaluation]") {
  CHECK(thin({"", {1, 2, 3}, {1, NAN, 3}, {}, {}}, 2000) == std::vector<size_t>{0, 1, 2});
  CHECK(thin({}, 2000).empty());
}

TEST_CASE("svg: the first 35 looks differ in colour, or in marker and dash", "[evaluation]") {
  std::set<std::string> looks;
  for (size_t slot = 0; slot < 35; ++slot)
    looks.insert(colour_class(slot) + dash_attribute(slot) + marker_path(slot, 0, 0, 1));
  CHECK(looks.size() == 35);
}
