// keel completion: scripts that complete command lines.
#include <CLI/CLI.hpp>

#include <iostream>
#include <memory>

#include "core/named.h"
#include "pipelines/cli/common/options.h"
#include "pipelines/cli/completion.h"

namespace keel::pipelines::cli {
namespace {

enum class Shell { bash, zsh, fish };
constexpr auto names(Shell) {
  return std::to_array<core::Named<Shell>>({{Shell::bash, "bash"}, {Shell::zsh, "zsh"}, {Shell::fish, "fish"}});
}

std::string script_for(Shell shell, const std::vector<CompletedCommand>& commands) {
  switch (shell) {
    case Shell::bash:
      return bash_completion(commands);
    case Shell::zsh:
      return zsh_completion(commands);
    case Shell::fish:
      return fish_completion(commands);
  }
  throw std::logic_error("a shell without a script");
}

}  // namespace

void add_completion(CLI::App& app, common::Invocation& invocation) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("completion", "a script that completes keel's command lines in a shell");
  command->add_option("shell", *shell, "the shell")->required()->check(CLI::IsMember(core::all_names<Shell>()));
  common::add_common_options(*command, invocation);
  command->footer(
      "bash: keel completion bash > ~/.local/share/bash-completion/completions/keel\n"
      "zsh:  keel completion zsh > DIR/_keel, DIR a folder of $fpath\n"
      "fish: keel completion fish > ~/.config/fish/completions/keel.fish");
  command->callback([shell, &app, &invocation] {
    invocation.action = [shell, &app, &invocation] {
      common::configure({}, invocation);
      std::cout << script_for(core::named<Shell>(*shell), completed_commands(app));
    };
  });
}

}  // namespace keel::pipelines::cli
