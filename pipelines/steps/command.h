// Steps that have a command of their own: what `keel NAME` asks for. The command line is made from this description alone.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pipelines/steps/step.h"

namespace keel::pipelines::steps {

// A file or folder that the command reads: "held_out" is asked for as --held-out.
struct Role {
  std::string name, help;
  enum class Kind { file, folder, path } kind = Kind::file;
  bool required = true;
  bool repeats = false;
};

// A setting with an option of its own, besides --set: {"--chat", "chat_format"}.
struct Option {
  std::string flag, field;
};

// Settings to fill in, and the step that they make. `step` throws core::ConfigError or UsageError for invalid ones.
struct Draft {
  core::Fields fields;  // point into what `step` holds
  std::function<Step(const Inputs&)> step;
};

struct Command {
  std::string name, help;
  std::string result;     // help of --out
  std::string file = {};  // what --out gets of the results, where it names a file and not a folder
  std::vector<Role> roles;
  std::vector<Option> options;
  std::function<Draft()> draft;
};

template <class Settings>
Command make_command(std::string name, std::string help, std::string result, std::vector<Role> roles, std::vector<Option> options,
                     Step (*step)(const Settings&, const Inputs&)) {
  return {.name = std::move(name),
          .help = std::move(help),
          .result = std::move(result),
          .roles = std::move(roles),
          .options = std::move(options),
          .draft = [step] {
            const auto settings = std::make_shared<Settings>();
            return Draft{.fields = core::fields_of(*settings),
                         .step = [settings, step](const Inputs& inputs) { return step(*settings, inputs); }};
          }};
}

// --max-tokens, --drop-oldest-turns, --allow-tags for settings with a section "limit"; the second without --drop-oldest-turns, for
// dialogues that grow turn by turn.
std::vector<Option> with_limit(std::vector<Option> options);
std::vector<Option> with_dialogue_limit(std::vector<Option> options);

}  // namespace keel::pipelines::steps
