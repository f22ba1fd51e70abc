// Scripts that complete keel's command lines in a shell.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace keel::pipelines::cli {

namespace common {
struct Invocation;
}

void add_completion(CLI::App& app, common::Invocation& invocation);  // last: its scripts hold what the others declared

// What may follow an option, or stand at a command's place.
enum class Wanted { nothing, file, folder, word, list };

struct CompletedOption {
  std::vector<std::string> names = {};  // "--out"; "-h" too
  std::string help = {};
  bool takes_value = false;  // always: an option whose value may be left out counts as a flag
  Wanted value = Wanted::nothing;
  std::vector<std::string> words = {};  // of Wanted::list
};

struct CompletedCommand {
  std::string path;                                                // "keel reward train"
  std::vector<std::pair<std::string, std::string>> commands = {};  // name and help of those below
  std::vector<CompletedOption> options = {};
  CompletedOption argument = {};           // the first one without a name; value `nothing`: there is none
  std::vector<std::string> settings = {};  // keys of --set
};

// Every command of the tree, the program first.
std::vector<CompletedCommand> completed_commands(const CLI::App& app);

std::string bash_completion(const std::vector<CompletedCommand>& commands);
std::string zsh_completion(const std::vector<CompletedCommand>& commands);
std::string fish_completion(const std::vector<CompletedCommand>& commands);

}  // namespace keel::pipelines::cli
