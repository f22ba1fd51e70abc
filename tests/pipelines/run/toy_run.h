// A recipe of three stages that takes milliseconds: numbers -> sums (with a checkpoint after every step) -> summary.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/json.h"
#include "core/log.h"
#include "pipelines/run/fail_point.h"
#include "pipelines/run/stage_runner.h"
#include "support/test_plain.h"

namespace keel::test {

struct Toy {
  int count = 4;       // of numbers
  int modulus = 1000;  // numbers are reduced by it: changing it from 1000 to 2000 changes numbers' key, not their bytes
  int factor = 3;      // of sums
  std::string title = "toy";
  int interrupt_at = 0;         // sums stops before this step, as if a signal had come; 0 = never
  std::filesystem::path trace;  // one line for each thing that was computed

  void note(const std::string& line) const { std::ofstream(trace, std::ios::app) << line << "\n"; }
};

inline std::vector<int64_t> numbers_in(const std::filesystem::path& path) {
  std::istringstream text(read_text(path));
  return {std::istream_iterator<int64_t>(text), {}};
}

inline void compute_numbers(const Toy& toy, const pipelines::run::StageContext& context) {
  toy.note("numbers");
  std::string text;
  for (int i = 0; i < toy.count; ++i)
    text += std::to_string((context.seed + static_cast<uint64_t>(i * i)) % static_cast<uint64_t>(toy.modulus)) + "\n";
  core::make_directories(context.work / "values");
  write_text(context.work / "values" / "numbers.txt", text);
  write_text(context.work / "events.out.tfevents.1", std::to_string(getpid()));  // differs from run to run
}

// Running sums times a factor. ckpt/state holds "step sum" so that a killed attempt continues after its last finished step.
inline void compute_sums(const Toy& toy, const pipelines::run::StageContext& context) {
  const auto numbers = numbers_in(context.inputs.at("numbers") / "values" / "numbers.txt");
  const auto state = context.work / "ckpt" / "state";
  core::make_directories(context.work / "ckpt");
  const auto saved = std::filesystem::exists(state) ? numbers_in(state) : std::vector<int64_t>{0, 0};
  int64_t sum = saved[1];
  for (auto step = static_cast<size_t>(saved[0]); step < numbers.size(); ++step) {
    if (static_cast<int>(step) + 1 == toy.interrupt_at) throw core::Interrupted("stopped");
    toy.note("sums " + std::to_string(step));
    write_text(context.work / ".half-written.tmp", "what a killed write leaves");
    sum += numbers[step];
    write_text(state, std::to_string(step + 1) + " " + std::to_string(sum));
    pipelines::run::fail_point("toy.step");
  }
  write_text(context.work / "sums.txt", std::to_string(sum * toy.factor) + "\n");
}

inline void compute_summary(const Toy& toy, const pipelines::run::StageContext& context) {
  toy.note("summary");
  write_text(context.work / "summary.txt", toy.title + ": " + read_text(context.inputs.at("sums") / "sums.txt"));
}

inline std::vector<pipelines::run::Stage> toy_stages(const Toy& toy) {
  using nlohmann::json;
  std::vector<pipelines::run::Stage> stages(3);
  stages[0].name = "numbers";
  stages[0].config = json{{"count", toy.count}, {"modulus", toy.modulus}}.dump();
  stages[0].run = [toy](const auto& context) { compute_numbers(toy, context); };
  stages[1].name = "sums";
  stages[1].inputs = {"numbers"};
  stages[1].config = json{{"factor", toy.factor}}.dump();
  stages[1].run = [toy](const auto& context) { compute_sums(toy, context); };
  stages[1].scratch = {"ckpt"};
  stages[2].name = "summary";
  stages[2].inputs = {"sums"};
  stages[2].config = json{{"title", toy.title}}.dump();
  stages[2].run = [toy](const auto& context) { compute_summary(toy, context); };
  return stages;
}

inline pipelines::run::RunOptions toy_options() {
  core::set_log_level("warn");
  pipelines::run::RunOptions options;
  options.seed = 17;
  options.threads = 2;
  options.versions = {{"keel", "0.1.0"}};
  return options;
}

inline std::vector<pipelines::run::StageStatus> run_toy(const std::filesystem::path& root, const Toy& toy,
                                                        const pipelines::run::RunOptions& options = toy_options()) {
  pipelines::run::RunDirectory run(root);
  run.begin({"toy", "0.1.0", "{}"});
  return pipelines::run::execute(run, toy_stages(toy), options);
}

// Lines noted since the last call.
inline std::vector<std::string> take_trace(const Toy& toy) {
  std::istringstream text(read_text(toy.trace));
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);)
    lines.push_back(line);
  std::filesystem::remove(toy.trace);
  return lines;
}

// The bytes of everything that the stages committed, except manifests and event files.
inline std::map<std::string, std::string> committed_bytes(const std::filesystem::path& root) {
  std::map<std::string, std::string> bytes;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root / "stages")) {
    const std::string path = entry.path().lexically_relative(root).generic_string();
    const std::string name = entry.path().filename().string();
    if (!entry.is_regular_file() || name == "manifest.json" || name.starts_with("events.out")) continue;
    bytes[path] = read_text(entry.path());
  }
  return bytes;
}

// Starts `work` in a child process with KEEL_FAIL_POINT set (unless empty).
template <class Work>
pid_t start_child(const std::string& fail_point, const Work& work) {
  const pid_t child = fork();
  if (child != 0) return child;
  if (!fail_point.empty()) setenv("KEEL_FAIL_POINT", fail_point.c_str(), 1);
  int code = 0;
  try {
    work();
  } catch (const core::Error& error) {
    code = static_cast<int>(error.code());
  } catch (...) {
    code = 99;
  }
  _exit(code);
}

// The exit code of a child (-1: of any child), of the core::Error that it threw, or minus the signal that ended it.
inline int wait_for(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

inline std::vector<nlohmann::json> events_in(const std::filesystem::path& root) {
  std::istringstream text(read_text(root / "events.jsonl"));
  std::vector<nlohmann::json> events;
  for (std::string line; std::getline(text, line);)
    events.push_back(core::parse_json(line, "events.jsonl"));
  return events;
}

}  // namespace keel::test
