// keel completion: scripts that complete command lines.
#include <CLI/CLI.hpp>

#include <iostream>
#include <memory>

#include "pipelines/cli/common/options.h"
#include "pipelines/cli/completion.h"

namespace keel::pipelines::cli {

void add_completion(CLI::App& app, common::Invocation& invocation) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("completion", "a script that completes keel's command lines in a shell");
  command->add_option("shell", *shell, "the shell")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  common::add_common_options(*command, invocation);
  command->footer(
      "bash: keel completion bash > ~/.local/share/bash-completion/completions/keel\n"
      "zsh:  keel completion zsh > DIR/_keel, DIR a folder of $fpath\n"
      "fish: keel completion fish > ~/.config/fish/completions/keel.fish");
  command->callback([shell, &app, &invocation] {
    invocation.action = [shell, &app, &invocation] {
      common::configure({}, invocation);
      const auto commands = completed_commands(app);
      std::cout << (*shell == "bash" ? bash_completion(commands) : *shell == "zsh" ? zsh_completion(commands) : fish_completion(commands));
    };
  });
}

}  // namespace keel::pipelines::cli
