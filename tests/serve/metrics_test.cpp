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

TEST_CASE("metrics: what has not happened yet is there, at 0", "[serve]") {
  Metrics metrics;
  const std::string before = metrics.text();
  for (const char* line : {"truncated_total 0", "nonfinite_total 0", "accepted_total 0", "inflight 0", "queue_tokens 0", "ready 0",
                           "request_seconds_count 0", "batch_tokens_bucket{le=\"+Inf\"} 0", "rejected_total{reason=\"overload\"} 0",
                           "rejected_total{reason=\"ending\"} 0", "reloads_total{result=\"failed\"} 0"}) {
    INFO(line);
    CHECK_THAT(before, ContainsSubstring("\nkeel_serve_" + std::string(line) + "\n"));
  }
  for (const char* name : {"requests_total", "sequences_total", "tokens_total", "score", "model_info", "connections"})
    CHECK_THAT(before, ContainsSubstring("# TYPE keel_serve_" + std::string(name) + " "));
  CHECK_THAT(before, !ContainsSubstring("keel_serve_score_count"));
  metrics.begin("score", "model=\"rm\"");
  metrics.count("sequences_total", "model=\"rm\"", 3);
  metrics.begin("sequences_total", "model=\"rm\"");
  metrics.set("ready", 1);
  metrics.begin("ready", "");
  CHECK_THAT(metrics.text(), ContainsSubstring("keel_serve_score_count{model=\"rm\"} 0\n") &&
                                 ContainsSubstring("keel_serve_sequences_total{model=\"rm\"} 3\n") &&
                                 ContainsSubstring("keel_serve_ready 1\n"));
}

}  // namespace keel::serve
