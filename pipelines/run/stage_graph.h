// The stages of a run, what each depends on, and the key that names its result.
//
// A key is the SHA-256 of everything that can change a stage's outputs: its own settings and the *contents* of its inputs. It holds no
// path, host, time or thread count, so a run directory can be moved, and a stage whose inputs were recomputed to the same bytes is reused.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace keel::pipelines::run {

// What a stage's code gets.
struct StageContext {
  std::filesystem::path work;                           // outputs and checkpoints go here; survives a kill, and the next attempt finds it
  std::map<std::string, std::filesystem::path> inputs;  // committed folder of each input stage, by its name
  uint64_t seed = 0;                                    // of the run
  int threads = 1;
};

struct Stage {
  std::string name;                             // lower-case letters, digits, '_' and '-': it is a folder's name
  int schema_version = 1;                       // raised when the code's meaning changes, so that old results no longer count
  std::vector<std::string> inputs;              // names of earlier stages whose outputs it reads
  std::vector<std::string> roles;               // what it reads them as, in order: "pool: rs1/kept.jsonl.gz"
  std::string config = "{}";                    // JSON text of the settings it depends on, and of no others (core::dump_json)
  std::map<std::string, std::string> external;  // role ("data.helpful") -> SHA-256 of a file or folder outside of the run

  // Writes the outputs into context.work. Every file left there is an output, except `scratch` and names that begin with '.'; the names
  // manifest.json and attempt.json at its top are reserved. Times and host names go to *.log, timings.json or TensorBoard's event files,
  // which do not count as content. Throws core::Interrupted after saving what a resumed run needs.
  std::function<void(const StageContext&)> run;
  bool together = false;             // where several ranks run, all compute it; otherwise the first does alone
  std::vector<std::string> scratch;  // paths inside work that are removed once the outputs are complete, e.g. "ckpt"
};

// Settings that decide the last bits of a result, besides the stage's own.
struct Numerics {
  std::string device = "cpu";
  std::string dtype = "fp32";
  bool deterministic = true;
};

// Names are unique and fit for a folder, inputs are names of earlier stages (so there are no cycles), configs are JSON.
// Throws ConfigError with every problem.
void check_graph(const std::vector<Stage>& stages);

// The index of the stage called `name`; UsageError with the nearest name when there is none. `option` is what asked for it ("--until").
size_t find_stage(const std::vector<Stage>& stages, const std::string& name, const std::string& option);

// Everything that the key is made of, as one JSON object; an input without a digest (not computed yet) is null.
nlohmann::json key_material(const Stage& stage, const Numerics& numerics, uint64_t seed,
                            const std::map<std::string, std::string>& input_digests);

std::string key_of(const nlohmann::json& material);  // 64 hexadecimal digits

// What differs between two key materials of one stage, a line each: "config.kl_coef: 0.01 -> 0.02", "input sft changed (...)".
std::vector<std::string> key_differences(const nlohmann::json& before, const nlohmann::json& now);

}  // namespace keel::pipelines::run
