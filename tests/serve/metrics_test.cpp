#include "serve/metrics.h"

#include "support/test_plain.h"

namespace keel::serve {

using Catch::Matchers::ContainsSubstring;

TEST_CASE("metrics: counters, gauges and cumulative histograms in Prometheus' text format", "[serve]") {
  Metrics metrics;
  metrics.count("requests_total", "path=\"/score\",code=\"200\"");
  metrics.count("requests_total", "path=\"/score\",code=\"200\"", 2);
  metrics.set("ready", 1);
  for (const double value : {0.5, 3.0, 3.0, 1000.0})
    metrics.observe("batch_sequences", value);
  const std::string text = metrics.text();
  CHECK_THAT(text,
             ContainsSubstring("# TYPE keel_serve_requests_total counter\nkeel_serve_requests_total{path=\"/score\",code=\"200\"} 3\n"));
  CHECK_THAT(text, ContainsSubstring("# TYPE keel_serve_ready gauge\nkeel_serve_ready 1\n"));
  CHECK_THAT(text, ContainsSubstring("keel_serve_batch_sequences_bucket{le=\"1\"} 1\nkeel_serve_batch_sequences_bucket{le=\"2\"} 1\n"
                                     "keel_serve_batch_sequences_bucket{le=\"4\"} 3\n"));
  CHECK_THAT(text,
             ContainsSubstring("_bucket{le=\"+Inf\"} 4\nkeel_serve_batch_sequences_sum 1006.5\nkeel_serve_batch_sequences_count 4\n"));
  CHECK_THROWS(metrics.count("ready"));
  CHECK_THROWS(metrics.count("unknown_total"));
}

}  // namespace keel::serve
