// keel bench serve: how long requests take at growing load.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "core/rng.h"
#include "evaluation/statistics/describe.h"
#include "http/load.h"
#include "pipelines/cli/common/options.h"
#include "pipelines/cli/models/commands.h"

namespace keel::pipelines::cli::models {
namespace {

struct BenchOptions {
  std::string url, in, out;
  std::vector<double> rates;
  double seconds = 10;
};

// Moments of a Poisson process: clients that do not know of each other.
std::vector<double> arrivals(double rate, double seconds, uint64_t seed) {
  core::Stream stream(seed, "bench.arrivals", static_cast<uint64_t>(std::llround(rate * 1000)));
  std::vector<double> moments;
  for (double at = -std::log(1 - stream.uniform()) / rate; at < seconds; at -= std::log(1 - stream.uniform()) / rate)
    moments.push_back(at);
  return moments;
}

nlohmann::json row_of(double rate, const http::Load& load, const std::vector<http::LoadOutcome>& outcomes) {
  std::vector<double> latencies;
  std::map<std::string, int64_t> statuses;
  double end = 0;  // of the last reply
  for (size_t i = 0; i < outcomes.size(); ++i) {
    const auto& outcome = outcomes[i];
    ++statuses[outcome.status == 0 ? "no reply" : std::to_string(outcome.status)];
    if (outcome.status == 200) latencies.push_back(outcome.latency);
    end = std::max(end, load.moments[i] + outcome.latency);
  }
  const auto milliseconds = [&](double share) {
    return nlohmann::json(std::round(evaluation::statistics::quantile(latencies, share) * 1e4) / 10);
  };
  return {{"offered", rate},
          {"requests", outcomes.size()},
          {"served", end > 0 ? static_cast<double>(latencies.size()) / end : 0},
          {"statuses", statuses},
          {"p50_ms", milliseconds(0.5)},
          {"p90_ms", milliseconds(0.9)},
          {"p99_ms", milliseconds(0.99)},
          {"max_ms", milliseconds(1)}};
}

void bench_serve(const BenchOptions& options, uint64_t seed) {
  common::check_output(options.out, {options.in});
  core::JsonlWriter writer(options.out);
  http::Load load{.url = http::parse_url(options.url), .headers = {}, .bodies = {}, .moments = {}};
  load.headers = http::bearer_headers("KEEL_SERVE_KEY");
  core::JsonlReader reader(options.in);
  for (nlohmann::json row; reader.next(row);)
    load.bodies.push_back(core::dump_json(row));
  if (load.bodies.empty()) throw core::DataError(options.in, 0, "holds no requests");
  for (const double rate : options.rates) {
    load.moments = arrivals(rate, options.seconds, seed);
    const nlohmann::json row = row_of(rate, load, http::run_load(load));
    core::log_info(fmt::format("{} requests/s offered: {:.1f} served, p50 {} ms, p99 {} ms", rate, row.at("served").get<double>(),
                               row.at("p50_ms").dump(), row.at("p99_ms").dump()));
    writer.write(row);
  }
  writer.commit();
}

}  // namespace

void add_bench(CLI::App& app, common::Invocation& invocation) {
  CLI::App* group = app.add_subcommand("bench", "measurements: bench serve, bench engine");
  add_bench_engine(*group, invocation);
  group->require_subcommand(1);
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command = group->add_subcommand("serve", "latency of a service against the requests a second that it is offered");
  command->add_option("--url", options->url, "path to ask, e.g. http://127.0.0.1:8000/v1/reward; $KEEL_SERVE_KEY is the bearer token")
      ->required()
      ->type_name("URL");
  command->add_option("--in", options->in, "bodies of requests, one a line, used in turn (.jsonl, .gz, .zst, .parquet)")
      ->required()
      ->type_name("FILE");
  command
      ->add_option("--rate", options->rates,
                   "requests a second; repeats. They arrive at random (a Poisson process), each on a connection of its own")
      ->required()
      ->type_name("NUMBER")
      ->expected(1)
      ->take_all()
      ->check(CLI::Range(0.01, 1e5));
  command->add_option("--seconds", options->seconds, "time at each rate")->capture_default_str()->check(CLI::Range(0.1, 86400.0));
  command->add_option("--out", options->out, "one row a rate: offered, served, statuses, percentiles; standard output when left out")
      ->type_name("FILE");
  common::add_common_options(*command, invocation);
  command->callback([options, &invocation] {
    invocation.action = [options, &invocation] {
      common::configure({}, invocation);
      bench_serve(*options, invocation.seed);
    };
  });
}

}  // namespace keel::pipelines::cli::models
