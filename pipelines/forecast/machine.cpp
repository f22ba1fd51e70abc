#include "pipelines/forecast/machine.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/log.h"
#include "pipelines/forecast/workload.h"
#include "policy/arithmetic.h"
#include "policy/lora.h"
#include "policy/packed_model.h"

namespace keel::pipelines::forecast {
namespace {

constexpr double kMeasuredWeights = 2.5e8;  // parameters of the layers that are measured, at most
constexpr double kMeasuredSeconds = 1;      // each kind of work, at least
constexpr int64_t kRowTokens = 256;         // of the measured rows, on average

constexpr int64_t kPromptTokens = 2, kNewTokens = 32;  // of measured answers

// Published figures: bf16 products without sparsity, memory and its bandwidth.
struct Published {
  const char* name;
  double flops, bandwidth, memory;
};
constexpr std::array kPublished = {Published{"a100", 312e12, 2.0e12, 80e9}, Published{"h100", 989e12, 3.35e12, 80e9},
                                   Published{"h200", 989e12, 4.8e12, 141e9}, Published{"l40s", 362e12, 0.86e12, 48e9}};
// Of these: what training and scoring reach of the products, and writing of the bandwidth.
constexpr double kTrainedShare = 0.4, kReadShare = 0.45, kWrittenShare = 0.45, kBandwidthShare = 0.55;

// Seconds of `work`: the fastest run of those that begin within the time of a measurement.
double fastest(const Workload& work) {
  double best = seconds_of(work);
  for (double spent = best; spent < kMeasuredSeconds;) {
    const double taken = seconds_of(work);
    best = std::min(best, taken);
    spent += taken;
  }
  return best;
}

// Seconds of a step in which `rows` answers get a token each.
double step_seconds(const policy::Llama& model, int64_t rows) {
  return fastest(writing(model, rows, kPromptTokens, kNewTokens)) / kNewTokens;  // reading so short a prompt takes about a step
}

}  // namespace

Machine this_machine(const policy::LlamaConfig& shape, int64_t rows, const policy::LoraConfig& lora, int threads) {
  policy::LlamaConfig measured = shape;
  const Cost whole = cost_of(shape);
  measured.num_hidden_layers =
      std::clamp<int64_t>(static_cast<int64_t>(kMeasuredWeights / (whole.trunk / whole.layers)), 1, shape.num_hidden_layers);
  measured.max_position_embeddings = std::max(kLongestRow, shape.max_position_embeddings);
  const Cost cost = cost_of(measured);
  core::log_info(
      fmt::format("measuring this machine on random weights of {} of the {} layers", measured.num_hidden_layers, shape.num_hidden_layers));
  const policy::Llama model = policy::make_llama(measured, 1);
  Machine machine{.name = fmt::format("this machine, {} thread{}, {}", threads, threads == 1 ? "" : "s", policy::arithmetic()),
                  .memory = static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGESIZE))};
  const auto training_rate = [&](const policy::Llama& weights, bool adapters) {
    const Workload work = training(weights, threads);
    return trained_flop(cost, work.tokens, kRowTokens, work.tokens, {.adapters = adapters}) / fastest(work);
  };
  machine.trained = training_rate(model, false);
  machine.adapted = lora.rank > 0 ? training_rate(policy::with_lora(model, lora, 1, "forecast"), true) : machine.trained;
  const Workload read = scoring(model, 8);
  // The last layer computes its output and its feed-forward part for a row's last token alone, which is much of few layers.
  const auto computed = [](const Cost& of, const policy::LlamaConfig& config) {
    const auto d = static_cast<double>(config.hidden_size), queries = static_cast<double>(config.num_attention_heads * config.head_size());
    return 1 - d * (queries + 3 * static_cast<double>(config.intermediate_size)) / of.trunk;
  };
  machine.read = read_flop(cost, read.tokens, kRowTokens) / fastest(read) * computed(cost, measured) / computed(whole, shape);
  const auto together = static_cast<double>(rows);
  machine.written = written_flop(cost, together, kPromptTokens + kNewTokens / 2.0) / step_seconds(model, rows);
  machine.bandwidth = 4 * (cost.trunk + cost.head) / step_seconds(model, 1);
  machine.numbers = {.weight = 4,
                     .workers = static_cast<double>(threads),
                     .trainers = policy::threads_share(shape) ? 1.0 : static_cast<double>(threads),
                     .packed = policy::computes_in_bf16() ? 0.5 : 1.0};
  return machine;
}

Machine named_machine(const std::string& name) {
  for (const Published& known : kPublished)
    if (name == known.name)
      return {.name = name,
              .memory = known.memory,
              .trained = kTrainedShare * known.flops,
              .adapted = kTrainedShare * known.flops,
              .read = kReadShare * known.flops,
              .written = kWrittenShare * known.flops,
              .bandwidth = kBandwidthShare * known.bandwidth,
              .numbers = {.weight = 2, .workers = 1, .exact = false, .packed_limit = 0}};
  throw core::UsageError(
      fmt::format("--device: no machine \"{}\" is known; cpu measures this one, {} are forecast by their published figures", name,
                  fmt::join(machine_names(), ", ")));
}

std::vector<std::string> machine_names() {
  std::vector<std::string> names;
  for (const Published& known : kPublished)
    names.emplace_back(known.name);
  return names;
}

double seconds(const Work& work, const Cost& cost, const Machine& machine) {
  double sum = work.trained / machine.trained + work.adapted / machine.adapted + work.read / machine.read;
  for (const Writing& writing : work.written) {
    const double steps = writing.tokens / writing.rows;
    const double bytes = machine.numbers.weight * (cost.trunk + cost.head + writing.rows * writing.context * cost.keys);
    sum += steps * std::max(bytes / machine.bandwidth, written_flop(cost, writing.rows, writing.context) / machine.written);
  }
  return sum;
}

}  // namespace keel::pipelines::forecast
