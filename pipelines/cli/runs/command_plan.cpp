// keel plan: how long a recipe will take and how much memory its stages need, here or on a named GPU.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <stdlib.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <memory>
#include <utility>

#include "core/digest_cache.h"
#include "core/error.h"
#include "core/progress.h"
#include "core/version.h"
#include "pipelines/cli/common/options.h"
#include "pipelines/cli/runs/commands.h"
#include "pipelines/cli/runs/runs.h"
#include "pipelines/forecast/machine.h"
#include "pipelines/run/stage_runner.h"
#include "pipelines/stages/graph.h"
#include "pipelines/stages/outside.h"
#include "policy/base_model.h"
#include "policy/checkpoint.h"
#include "runtime/device.h"

namespace keel::pipelines::cli::runs {
namespace {

namespace fs = std::filesystem;

// A folder that goes with its object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::error_code absent;
    std::string name = fs::temp_directory_path(absent) / "keel-plan-XXXXXX";
    if (absent || ::mkdtemp(name.data()) == nullptr)
      throw core::IoError(fmt::format("no temporary folder: {}; set TMPDIR to a folder with room for the run's data",
                                      absent ? absent.message() : std::strerror(errno)));
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

// What the data stages leave, which take seconds: those of a run's first stages, before one computes with a model.
forecast::Facts facts_of(const recipe::Recipe& recipe, const common::Invocation& invocation) {
  const TemporaryFolder folder;
  run::RunDirectory run(folder.path() / "run");
  core::DigestCache known(run.digest_file());
  const auto external = stages::external_digests(recipe, known);
  const std::vector<run::Stage> stages = stages::build_stages(recipe, external);
  run::RunOptions options = options_for(recipe, invocation);
  for (const run::Stage& stage : stages)
    if (stage.name.starts_with("data") || stage.name == "dialogues") options.until = stage.name;
  run.begin({.recipe = recipe.name, .version = core::kVersion, .config = "{}", .external = external});
  std::map<std::string, fs::path> outputs;
  for (const auto& status : execute(run, stages, options))
    outputs[status.name] = status.folder;
  return forecast::read_facts(recipe, outputs);
}

// Of the sections that train, the first that trains adapters.
policy::LoraConfig adapters_of(const recipe::Recipe& recipe) {
  for (const policy::LoraConfig& lora : {recipe.sft.lora, recipe.reward.lora, recipe.rejection.sft.lora, recipe.ppo.lora})
    if (lora.rank > 0) return lora;
  return {};
}

policy::LlamaConfig shape_of(const recipe::Recipe& recipe) {
  if (!recipe::from_sandbox(recipe)) return policy::describe_folder(policy::weights_folder(recipe.model)).config;
  policy::LlamaConfig shape = recipe.llama;
  shape.vocab_size = recipe.sandbox.vocab_size;
  return shape;
}

bool holds_bf16(const recipe::Recipe& recipe) {
  if (recipe::from_sandbox(recipe)) return false;
  const auto dtypes = policy::describe_folder(policy::weights_folder(recipe.model)).dtypes;
  return dtypes.size() == 1 && dtypes.contains("BF16");
}

void print_plan(const recipe::Recipe& recipe, const std::string& device, const common::Invocation& invocation) {
  const policy::LlamaConfig shape = shape_of(recipe);
  const forecast::Cost cost = forecast::cost_of(shape);
  const bool here = device == "cpu";
  forecast::Machine machine = here ? forecast::Machine{} : forecast::named_machine(device);  // refused before any work
  const forecast::Facts facts = facts_of(recipe, invocation);
  if (here) {
    const int threads = runtime::configure_process(invocation.threads_given ? invocation.threads : static_cast<int>(recipe.threads));
    machine = forecast::this_machine(shape, std::clamp<int64_t>(recipe.rejection.batch_rows, 1, 32), adapters_of(recipe), threads);
    machine.numbers.bf16_base = holds_bf16(recipe);
  }
  std::cout << fmt::format(
      "model: {:.1f} M parameters\nmachine: {}; training {:.0f}, scoring {:.0f}, writing {:.0f} GFLOP/s, weights read "
      "at {:.0f} GB/s; {:.1f} GB of memory\n\n{:<22}{:>10}{:>12}{:>12}\n",
      cost.weights / 1e6, machine.name, machine.trained / 1e9, machine.read / 1e9, machine.written / 1e9, machine.bandwidth / 1e9,
      machine.memory / 1e9, "stage", "TFLOP", "memory, GB", "time");
  double total = 0, peak = 0;
  std::vector<std::string> too_large;
  for (const auto& stage : forecast::forecast(recipe, shape, facts, machine.numbers)) {
    double flop = stage.work.trained + stage.work.adapted + stage.work.read;
    for (const auto& writing : stage.work.written)
      flop += forecast::written_flop(cost, writing.tokens, writing.context);
    const double seconds = forecast::seconds(stage.work, cost, machine);
    total += seconds;
    peak = std::max(peak, stage.bytes);
    if (stage.bytes > machine.memory) too_large.push_back(fmt::format("{} ({:.1f} GB)", stage.stage, stage.bytes / 1e9));
    std::cout << fmt::format("{:<22}{:>10.2f}{:>12.1f}{:>12}\n", stage.stage, flop / 1e12, stage.bytes / 1e9,
                             core::format_duration(seconds));
  }
  std::cout << fmt::format("{:<22}{:>10}{:>12.1f}{:>12}\n", "all", "", peak / 1e9, core::format_duration(total));
  if (!here)
    std::cout << "\nWhat the arithmetic needs on such a card in bf16; keel itself computes on CPUs. See docs/performance.md, Forecasts.\n";
  if (!too_large.empty())
    throw core::UsageError(
        fmt::format("{} has {:.1f} GB of memory, and these stages need more: {}; give adapters (lora.rank), smaller "
                    "micro-batches (micro_rows, micro_tokens), fewer threads, or another machine",
                    machine.name, machine.memory / 1e9, fmt::join(too_large, ", ")));
}

}  // namespace

void add_plan(CLI::App& app, common::Invocation& invocation) {
  auto file = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("plan", "time and memory that a recipe's stages will need, before they are run");
  command->add_option("recipe", *file, "recipe file, e.g. recipes/sandbox.json")->required()->type_name("RECIPE");
  common::add_base(*command, invocation);
  common::add_common_options(*command, invocation);
  command->get_option("--config")->description("JSON file (comments allowed) with fields that replace the recipe's");
  command->get_option("--device")
      ->description(fmt::format("cpu measures this machine for some seconds; {} are forecast by their published figures",
                                fmt::join(forecast::machine_names(), ", ")));
  command->callback([file, &invocation] {
    const std::string device = std::exchange(invocation.device, "cpu");  // where it is computed, that is here
    if (device != "cpu") invocation.precision = "fp32";                  // of which no forecast by published figures asks
    invocation.action = [file, device, &invocation] {
      std::vector<std::string> settings = invocation.set;
      if (!invocation.base.empty()) settings.push_back("base=" + invocation.base);
      recipe::Recipe recipe = recipe::read_recipe(*file, invocation.config, settings);
      if (invocation.seed_given) recipe.seed = static_cast<int64_t>(invocation.seed);
      stages::check_external_files(recipe);
      print_plan(recipe, device, invocation);
    };
  });
}

}  // namespace keel::pipelines::cli::runs
