// Metrics of a training run: metrics.jsonl (the truth) and a TensorBoard event file beside it, written step by step.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace keel::core {

using MetricRow = std::vector<std::pair<std::string, double>>;  // e.g. {"loss", 2.1}, {"lr", 1e-3}; names are TRL's where it has one

class Metrics {
 public:
  // Appends to DIR/metrics.jsonl after cutting it to `offset` bytes (0 for a new run), see core/row_log.h. TensorBoard: a new
  // DIR/events.out.tfevents.* file.
  explicit Metrics(const std::filesystem::path& directory, int64_t offset = 0);
  ~Metrics();
  void log(int64_t step, const MetricRow& row);
  int64_t offset() const;  // bytes of metrics.jsonl so far, for the checkpoint
  void sync();             // metrics.jsonl to disk; before a checkpoint that records offset()

 private:
  struct Files;
  std::unique_ptr<Files> files_;
};

struct MetricPoint {
  int64_t step;
  MetricRow values;
};
std::vector<MetricPoint> read_metrics(const std::filesystem::path& metrics_jsonl);  // null reads as NaN

}  // namespace keel::core
