#include "serve/metrics.h"

#include <fmt/format.h>

#include <array>
#include <stdexcept>

namespace keel::serve {
namespace {

enum class Kind { counter, gauge, histogram };

struct Described {
  Kind kind;
  const char* help;
  std::vector<double> bounds = {};
  std::vector<std::string> series = {""};  // the labels that are there from the start, at 0
};

const std::vector<double> kSeconds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 150};

// Every name that the service counts under, without its prefix.
const std::map<std::string, Described>& all_metrics() {
  static const std::map<std::string, Described> all = {
      {"requests_total", {Kind::counter, "Requests by path, model and status.", {}, {}}},
      {"sequences_total", {Kind::counter, "Texts scored, by model.", {}, {}}},
      {"tokens_total", {Kind::counter, "Tokens scored, by model.", {}, {}}},
      {"rejected_total",
       {Kind::counter,
        "Requests refused, by reason.",
        {},
        {"reason=\"overload\"", "reason=\"invalid\"", "reason=\"failure\"", "reason=\"ending\""}}},
      {"truncated_total", {Kind::counter, "Texts of which something was left out."}},
      {"nonfinite_total", {Kind::counter, "Requests whose score was not finite."}},
      {"reloads_total", {Kind::counter, "Reloads of the models, by result.", {}, {"result=\"done\"", "result=\"failed\""}}},
      {"accepted_total", {Kind::counter, "Requests whose body was read."}},
      {"answered_total", {Kind::counter, "Replies written whole."}},
      {"disconnected_total", {Kind::counter, "Requests whose client left before the reply."}},
      {"request_seconds", {Kind::histogram, "From the whole request to its reply.", kSeconds}},
      {"tokenize_seconds", {Kind::histogram, "Parsing and tokenising of a request.", kSeconds}},
      {"queue_seconds", {Kind::histogram, "From a prepared request to its first text's batch.", kSeconds}},
      {"batch_padding_ratio",
       {Kind::histogram,
        "Padded tokens of a batch, were all texts as long as its longest, to its tokens.",
        {1, 1.1, 1.25, 1.5, 2, 3, 5, 10}}},
      {"forward_seconds", {Kind::histogram, "Forward passes of a batch.", kSeconds}},
      {"batch_sequences", {Kind::histogram, "Texts in a batch.", {1, 2, 4, 8, 16, 32, 64, 128, 256}}},
      {"batch_tokens", {Kind::histogram, "Tokens in a batch.", {64, 256, 1024, 2048, 4096, 8192, 16384, 32768}}},
      {"score", {Kind::histogram, "Raw scores, by model.", {-8, -4, -2, -1, -0.5, 0, 0.5, 1, 2, 4, 8}, {}}},
      {"queue_sequences", {Kind::gauge, "Texts that wait or are computed."}},
      {"queue_tokens", {Kind::gauge, "Their tokens, estimated until they are counted."}},
      {"inflight", {Kind::gauge, "Requests that are not answered yet."}},
      {"connections", {Kind::gauge, "Open connections."}},
      {"ready", {Kind::gauge, "1 while the service takes work."}},
      {"model_info", {Kind::gauge, "The models, by name and digest.", {}, {}}}};
  return all;
}

const Described& described_as(const std::string& name, Kind kind) {
  const auto found = all_metrics().find(name);
  if (found == all_metrics().end() || found->second.kind != kind) throw std::logic_error("no such metric: " + name);
  return found->second;
}

std::string in_braces(const std::string& labels) {
  return labels.empty() ? std::string() : "{" + labels + "}";
}

}  // namespace

Metrics::Metrics() {
  for (const auto& [name, metric] : all_metrics())
    for (const auto& labels : metric.series)
      begin(name, labels);
}

void Metrics::begin(const std::string& name, const std::string& labels) {
  const Described& metric = all_metrics().at(name);
  const std::lock_guard lock(mutex_);
  if (metric.kind == Kind::histogram)
    histograms_[name][labels].buckets.resize(metric.bounds.size());
  else
    (metric.kind == Kind::counter ? counters_ : gauges_)[name][labels] += 0;
}

void Metrics::count(const std::string& name, const std::string& labels, double by) {
  described_as(name, Kind::counter);
  const std::lock_guard lock(mutex_);
  counters_[name][labels] += by;
}

void Metrics::total(const std::string& name, double value) {
  described_as(name, Kind::counter);
  const std::lock_guard lock(mutex_);
  counters_[name][""] = value;
}

void Metrics::clear(const std::string& name) {
  described_as(name, Kind::gauge);
  const std::lock_guard lock(mutex_);
  gauges_.erase(name);
}

void Metrics::set(const std::string& name, double value, const std::string& labels) {
  described_as(name, Kind::gauge);
  const std::lock_guard lock(mutex_);
  gauges_[name][labels] = value;
}

void Metrics::observe(const std::string& name, double value, const std::string& labels) {
  const Described& metric = described_as(name, Kind::histogram);
  const std::lock_guard lock(mutex_);
  Histogram& histogram = histograms_[name][labels];
  histogram.buckets.resize(metric.bounds.size());
  for (size_t i = 0; i < metric.bounds.size(); ++i)
    histogram.buckets[i] += value <= metric.bounds[i] ? 1 : 0;
  histogram.sum += value;
  histogram.count += 1;
}

std::string Metrics::text() const {
  const std::lock_guard lock(mutex_);
  std::string text;
  static constexpr std::array kTypes = {"counter", "gauge", "histogram"};
  for (const auto& [name, metric] : all_metrics()) {
    text +=
        fmt::format("# HELP keel_serve_{0} {1}\n# TYPE keel_serve_{0} {2}\n", name, metric.help, kTypes[static_cast<size_t>(metric.kind)]);
    for (const auto* values : {&counters_, &gauges_})
      if (const auto found = values->find(name); found != values->end())
        for (const auto& [labels, value] : found->second)
          text += fmt::format("keel_serve_{}{} {}\n", name, in_braces(labels), value);
    const auto found = histograms_.find(name);
    if (found == histograms_.end()) continue;
    const auto& bounds = metric.bounds;
    for (const auto& [labels, histogram] : found->second) {
      const std::string before = labels.empty() ? "" : labels + ",";
      for (size_t i = 0; i < bounds.size(); ++i)
        text += fmt::format("keel_serve_{}_bucket{{{}le=\"{}\"}} {}\n", name, before, bounds[i], histogram.buckets[i]);
      text += fmt::format("keel_serve_{}_bucket{{{}le=\"+Inf\"}} {}\n", name, before, histogram.count);
      text += fmt::format("keel_serve_{}_sum{} {}\n", name, in_braces(labels), histogram.sum);
      text += fmt::format("keel_serve_{}_count{} {}\n", name, in_braces(labels), histogram.count);
    }
  }
  return text;
}

}  // namespace keel::serve
