// keel bench engine: how much faster keel's kernels are than plain operators.
#include <ATen/TensorOperators.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "evaluation/statistics/describe.h"
#include "pipelines/cli/common/options.h"
#include "pipelines/cli/models/commands.h"
#include "pipelines/forecast/workload.h"
#include "policy/arithmetic.h"
#include "policy/base_model.h"
#include "policy/checkpoint.h"
#include "policy/lora.h"
#include "policy/model_directory.h"
#include "runtime/device.h"

namespace keel::pipelines::cli::models {
namespace {

struct EngineOptions {
  std::string model, out, least;
  int64_t pairs = 5;
};

constexpr double kLeastShare = 0.9;  // of a recorded ratio: machines are noisy

// The same weights, laid out so that keel's kernels do not take them.
policy::Llama plain_copy(const policy::Llama& model) {
  policy::Llama copy = policy::frozen_copy(model);
  policy::visit_weights(copy, [](const std::string&, at::Tensor& weight) {
    if (weight.dim() == 2) weight = weight.t().contiguous().t();
  });
  return copy;
}

policy::Llama model_to_measure(const EngineOptions& options) {
  if (!runtime::compute_device().is_cpu()) throw core::UsageError("bench engine measures the CPU's kernels; leave --device out");
  if (policy::computes_in_bf16()) throw core::UsageError("bench engine compares with operators in fp32; leave --precision out");
  if (!options.model.empty()) {
    const auto folder = policy::weights_folder(options.model);
    if (policy::describe_folder(folder).scalar_head)
      throw core::UsageError(fmt::format("--model: {} is a reward model; give a language model", options.model));
    return policy::load_llama(folder);
  }
  return policy::make_llama({.vocab_size = 32000,
                             .hidden_size = 288,
                             .intermediate_size = 768,
                             .num_hidden_layers = 6,
                             .num_attention_heads = 6,
                             .num_key_value_heads = 6,
                             .max_position_embeddings = 2048},
                            1);
}

// Both in turn, `pairs` times, after a run that does not count.
nlohmann::json compared(const forecast::Workload& ours, const forecast::Workload& plain, int64_t pairs) {
  std::vector<double> ratios, our_seconds, plain_seconds;
  ours.run();
  plain.run();
  for (int64_t pair = 0; pair < pairs; ++pair) {
    our_seconds.push_back(forecast::seconds_of(ours));
    plain_seconds.push_back(forecast::seconds_of(plain));
    ratios.push_back(plain_seconds.back() / our_seconds.back());
  }
  const auto median = [](const std::vector<double>& values) { return evaluation::statistics::quantile(values, 0.5); };
  return {{"workload", ours.name},
          {"tokens_per_second", std::round(ours.tokens / median(our_seconds))},
          {"plain_tokens_per_second", std::round(plain.tokens / median(plain_seconds))},
          {"ratio", median(ratios)},
          {"lowest", *std::ranges::min_element(ratios)},
          {"highest", *std::ranges::max_element(ratios)},
          {"pairs", pairs},
          {"vector_level", runtime::cpu_capability()}};
}

const std::vector<std::string>& workload_names() {
  static const std::vector<std::string> names = {"writing_1", "writing_16",       "writing_64",     "scoring",
                                                 "training",  "adapter_training", "reward_training"};
  return names;
}

// Recorded ratios: {"AVX512": {"writing_64": 2.1, ...}, "AVX2": ...}. DataError for another form and for workloads that there are not.
nlohmann::json read_least(const std::string& file) {
  const nlohmann::json least = core::read_json_file(file);
  const auto refuse = [&](const std::string& what) {
    throw core::DataError(file, 0, what + R"(; it must hold recorded ratios by vector level, {"AVX512": {"writing_64": 2.1}})");
  };
  if (!least.is_object() || least.empty()) refuse("holds no object with ratios");
  for (const auto& [level, ratios] : least.items()) {
    if (!ratios.is_object() || ratios.empty()) refuse(fmt::format("\"{}\" holds no ratios", level));
    for (const auto& [workload, ratio] : ratios.items()) {
      if (std::ranges::find(workload_names(), workload) == workload_names().end())
        refuse(fmt::format("\"{}\" is none of {}", workload, fmt::join(workload_names(), ", ")));
      if (!ratio.is_number() || ratio <= 0) refuse(fmt::format("the ratio of \"{}\" is no number above 0", workload));
    }
  }
  return least;
}

// A level or workload that `least` does not name is not checked, and said to be so.
void check_ratio(const nlohmann::json& row, const nlohmann::json& least, const std::string& file) {
  const std::string level = row.at("vector_level"), workload = row.at("workload");
  const nlohmann::json::json_pointer place("/" + level + "/" + workload);
  if (!least.contains(place))
    return core::log_warn(fmt::format("{} records no ratio of {} at {}; it is not checked", file, workload, level));
  const double ratio = row.at("ratio"), recorded = least.at(place);
  if (ratio < kLeastShare * recorded)
    throw core::DataError(file, 0,
                          fmt::format("{} is {:.2f} times as fast as plain operators here, less than {} of the recorded {:.2f}", workload,
                                      ratio, kLeastShare, recorded));
}

void bench_engine(const EngineOptions& options, const common::Invocation& invocation) {
  common::check_output(options.out, {options.model, options.least});
  const nlohmann::json least = options.least.empty() ? nlohmann::json() : read_least(options.least);
  common::use_base(invocation, {options.model});
  const int threads = runtime::configure_process(invocation.threads);
  const policy::Llama model = model_to_measure(options), plain = plain_copy(model);
  if (model.config.max_position_embeddings < forecast::kLongestRow)
    throw core::UsageError(fmt::format("--model: the context of {} has {} tokens, and the rows that are measured up to {}", options.model,
                                       model.config.max_position_embeddings, forecast::kLongestRow));
  core::JsonlWriter writer(options.out);
  std::vector<nlohmann::json> rows;
  const auto compare = [&](const auto& workload) {
    const nlohmann::json& row = rows.emplace_back(compared(workload(model), workload(plain), options.pairs));
    core::log_info(fmt::format("{}: {} tokens/s, {:.2f} ({:.2f} to {:.2f}) times plain operators", row.at("workload").get<std::string>(),
                               row.at("tokens_per_second").get<double>(), row.at("ratio").get<double>(), row.at("lowest").get<double>(),
                               row.at("highest").get<double>()));
    writer.write(row);
  };
  for (const int64_t answers : {1, 16, 64})
    compare([&](const policy::Llama& weights) { return forecast::writing(weights, answers, 64, 64); });
  compare([&](const policy::Llama& weights) { return forecast::scoring(weights, 32); });
  compare([&](const policy::Llama& weights) { return forecast::training(weights, threads); });
  const int64_t key_width = model.config.num_key_value_heads * model.config.head_size();
  const policy::LoraConfig adapters{.rank = std::min({int64_t{8}, model.config.hidden_size, key_width})};
  compare([&](const policy::Llama& weights) { return forecast::training(policy::with_lora(weights, adapters, 1, "bench"), threads); });
  compare([&](const policy::Llama& weights) { return forecast::reward_training(weights, threads); });
  writer.commit();
  if (!options.least.empty())
    for (const auto& row : rows)
      check_ratio(row, least, options.least);
}

}  // namespace

void add_bench_engine(CLI::App& group, common::Invocation& invocation) {
  auto options = std::make_shared<EngineOptions>();
  CLI::App* command = group.add_subcommand("engine", "tokens a second of keel's kernels and, in turn, of plain operators");
  command->add_option("--model", options->model, "model folder to measure; a random one of 15 M parameters when left out")
      ->type_name("DIR")
      ->check(CLI::ExistingDirectory);
  command->add_option("--pairs", options->pairs, "times that both are run")->capture_default_str()->check(CLI::Range(1, 1000));
  command
      ->add_option("--least", options->least,
                   "file of recorded ratios, {\"AVX512\": {\"writing_64\": 2.1}}: one below 0.9 of its recorded value is an error (3)")
      ->type_name("FILE")
      ->check(CLI::ExistingFile);
  command->add_option("--out", options->out, "one row a workload; standard output when left out")->type_name("FILE");
  common::add_base(*command, invocation);
  common::add_common_options(*command, invocation);
  command->callback([options, &invocation] {
    invocation.action = [options, &invocation] {
      common::configure({}, invocation);
      bench_engine(*options, invocation);
    };
  });
}

}  // namespace keel::pipelines::cli::models
