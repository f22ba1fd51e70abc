// One step of the recipe: what decides its result, what it reads, and the function that computes it. A stage of a run and the command that
// runs the step by itself are both made from it, so that both derive their keys from it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "core/config.h"
#include "core/digest_cache.h"
#include "core/json.h"
#include "pipelines/run/stage_graph.h"

namespace keel::pipelines::steps {

namespace fs = std::filesystem;

// Where an input lies: in the folder that an earlier stage leaves, or outside of the run.
struct Source {
  std::string stage;    // "" = outside of the run
  fs::path path;        // a file in the stage's folder ("" = the folder itself), or a path outside
  std::string outside;  // name of an outside path in run.json: "model", "data.helpful"
};
Source output_of(std::string stage, fs::path file = {});
Source from_outside(std::string name, fs::path path);

struct Input {
  std::string role;  // "model", "prompts"
  Source source;
};
using Inputs = std::vector<Input>;  // a role may repeat ("pool"); the order stays

bool has_role(const Inputs& inputs, const std::string& role);

// Arguments of a step's function besides its settings.
class Context {
 public:
  Context(fs::path work_folder, uint64_t run_seed, std::vector<std::pair<std::string, fs::path>> inputs)
      : work(std::move(work_folder)), seed(run_seed), inputs_(std::move(inputs)) {}

  fs::path work;  // outputs and checkpoints go here; survives a kill, and the next attempt finds it
  uint64_t seed;

  fs::path at(const std::string& role) const;                // the only input of a role; std::out_of_range where there is none
  fs::path maybe(const std::string& role) const;             // the same; "" where there is none
  std::vector<fs::path> all(const std::string& role) const;  // in order

 private:
  std::vector<std::pair<std::string, fs::path>> inputs_;
};

struct Step {
  std::string name;  // of the stage, or of the command
  int schema_version = 1;
  std::string settings = "{}";  // JSON of the struct that the function gets, without unkeyed() fields
  Inputs inputs;
  std::function<void(const Context&)> run;  // leaves its results in Context::work; ckpt/ there is removed at the end
  bool together = false;                    // several ranks compute it, if there are several (pipelines/steps/ranks.h)
};

// `run` is a plain function and sees nothing but the settings that make the key, and the inputs.
template <class Settings>
Step make_step(std::string name, const Settings& settings, Inputs inputs, void (*run)(const Settings&, const Context&),
               int schema_version = 1) {
  return {.name = std::move(name),
          .schema_version = schema_version,
          .settings = core::dump_json(core::key_json_of(settings)),
          .inputs = std::move(inputs),
          .run = [settings, run](const Context& context) { run(settings, context); }};
}

// `step` for a function that trains models, writes answers or scores them, and asks no service that would be asked by every rank.
inline Step together(Step step) {
  step.together = true;
  return step;
}

// The step as a stage of a run. `digests`: SHA-256 of outside inputs by their name; an input without one does not exist yet and is not part
// of the key.
run::Stage as_stage(const Step& step, const std::map<std::string, std::string>& digests);

// SHA-256 of a file, or of a model folder.
std::string digest_of(const fs::path& path, core::DigestCache& digests);

}  // namespace keel::pipelines::steps
