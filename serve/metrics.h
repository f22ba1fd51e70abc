// What the service counts, as Prometheus reads it (text format 0.0.4). Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace keel::serve {

class Metrics {
 public:
  Metrics();  // every series whose labels are known is there from the start, at 0, so that what never happened can be told from what is not
              // counted

  // `labels`: path="/score",code="200"; they hold names that the service knows, never text of a client.
  void count(const std::string& name, const std::string& labels = {}, double by = 1);
  void begin(const std::string& name, const std::string& labels);  // a series at 0, where it is not there yet
  void total(const std::string& name, double value);               // a counter that something else counts
  void set(const std::string& name, double value, const std::string& labels = {});
  void clear(const std::string& name);                                                  // a gauge, with all its labels
  void observe(const std::string& name, double value, const std::string& labels = {});  // into the histogram's buckets
  std::string text() const;

 private:
  struct Histogram {
    std::vector<double> buckets;  // how many values lie at or below each bound
    double sum = 0, count = 0;
  };
  mutable std::mutex mutex_;
  std::map<std::string, std::map<std::string, double>> counters_, gauges_;
  std::map<std::string, std::map<std::string, Histogram>> histograms_;
};

}  // namespace keel::serve
