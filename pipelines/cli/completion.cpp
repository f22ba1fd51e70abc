#include "pipelines/cli/completion.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include <algorithm>

#include "data/chat_format.h"
#include "pipelines/cli/common/options.h"

namespace keel::pipelines::cli {
namespace {

using Words = std::vector<std::string>;

// Values of options that are checked elsewhere than in their declaration.
Words known_words(const std::string& name) {
  if (name == "--log-level") return {"debug", "info", "warn", "error", "off"};
  if (name == "--device") return {"cpu", "cuda"};
  if (name == "--precision") return {"fp32", "bf16"};
  if (name == "--chat") return data::chat_format_names();
  return {};
}

// "TEXT:{hf,gguf,llama2c}" -> its words.
Words listed_words(const std::string& type) {
  Words words;
  const size_t open = type.find('{'), close = type.rfind('}');
  if (open == std::string::npos || close == std::string::npos) return words;
  for (size_t begin = open + 1; begin < close;) {
    const size_t end = std::min(type.find(',', begin), close);
    words.push_back(type.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

CompletedOption completed(const CLI::Option& option) {
  CompletedOption result{.help = option.get_description()};
  for (const auto& name : option.get_lnames())
    result.names.push_back("--" + name);
  for (const auto& name : option.get_snames())
    result.names.push_back("-" + name);
  result.takes_value = option.get_items_expected_min() > 0;
  const std::string type = option.get_type_name();
  result.words = listed_words(type);
  if (result.words.empty() && !result.names.empty()) result.words = known_words(result.names[0]);
  if (!result.words.empty())
    result.value = Wanted::list;
  else if (type == "DIR" || type == "DST" || type == "RUN")
    result.value = Wanted::folder;
  else if (type == "FILE" || type == "PATH" || type == "SRC" || type == "RECIPE" || type == "SWEEP")
    result.value = Wanted::file;
  else
    result.value = Wanted::word;
  return result;
}

void collect(const CLI::App& app, const std::string& path, std::vector<CompletedCommand>& all) {
  CompletedCommand command{.path = path, .settings = common::setting_names(app)};
  const auto below = app.get_subcommands([](const CLI::App*) { return true; });
  for (const CLI::App* sub : below)
    command.commands.emplace_back(sub->get_name(), sub->get_description());
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_positional())
      command.options.push_back(completed(*option));
    else if (command.argument.value == Wanted::nothing)
      command.argument = completed(*option);
  }
  all.push_back(std::move(command));
  for (const CLI::App* sub : below)
    collect(*sub, path + " " + sub->get_name(), all);
}

// In single quotes of a shell; fish knows \' inside them, the others do not.
std::string quoted(std::string text, const char* quote = "'\\''") {
  for (size_t at = text.find('\''); at != std::string::npos; at = text.find('\'', at + std::string_view(quote).size()))
    text.replace(at, 1, quote);
  return "'" + text + "'";
}

std::string fish_quoted(std::string text) {
  for (size_t at = text.find('\\'); at != std::string::npos; at = text.find('\\', at + 2))
    text.insert(at, "\\");
  return quoted(text, "\\'");
}

// Names of the options that take a value of this kind.
Words names_of(const CompletedCommand& command, Wanted value) {
  Words names;
  for (const auto& option : command.options)
    if (option.takes_value && option.value == value) names.insert(names.end(), option.names.begin(), option.names.end());
  return names;
}

Words keys_of(const CompletedCommand& command) {
  Words keys;
  for (const auto& name : command.settings)
    keys.push_back(name + "=");
  return keys;
}

Words paths_of(const std::vector<CompletedCommand>& commands) {
  Words paths;
  for (const auto& command : commands)
    if (&command != &commands.front()) paths.push_back(quoted(command.path));
  return paths;
}

const char* name_of(Wanted value) {
  return value == Wanted::file ? "file" : value == Wanted::folder ? "folder" : value == Wanted::list ? "list" : "";
}

// Lines for every list of words that an option or the argument takes: "'keel convert --format') words=(hf ...) ;;".
std::string cases_of_words(const std::vector<CompletedCommand>& commands, const std::string& indent) {
  std::string text;
  const auto add = [&](const std::string& pattern, const Words& words) {
    text += fmt::format("{}{}) words=({}) ;;\n", indent, quoted(pattern), fmt::join(words, " "));
  };
  for (const auto& command : commands) {
    for (const auto& option : command.options)
      for (const auto& name : option.names)
        if (option.takes_value && option.value == Wanted::list) add(command.path + " " + name, option.words);
    if (command.argument.value == Wanted::list) add(command.path + " ", command.argument.words);
  }
  return text;
}

}  // namespace

std::vector<CompletedCommand> completed_commands(const CLI::App& app) {
  std::vector<CompletedCommand> all;
  collect(app, app.get_name(), all);
  return all;
}

std::string bash_completion(const std::vector<CompletedCommand>& commands) {
  std::string cases;
  for (const auto& command : commands) {
    Words names, below;
    for (const auto& option : command.options)
      names.insert(names.end(), option.names.begin(), option.names.end());
    for (const auto& [name, help] : command.commands)
      below.push_back(name);
    cases += fmt::format("    {})\n      commands='{}' options='{}' argument='{}'\n", quoted(command.path), fmt::join(below, " "),
                         fmt::join(names, " "), name_of(command.argument.value));
    cases += fmt::format("      files=' {} ' folders=' {} ' free=' {} '\n", fmt::join(names_of(command, Wanted::file), " "),
                         fmt::join(names_of(command, Wanted::folder), " "), fmt::join(names_of(command, Wanted::word), " "));
    cases += fmt::format("      settings='{}' ;;\n", fmt::join(keys_of(command), " "));
  }
  return fmt::format(R"(# Completion of keel for bash, made by: keel completion bash
_keel() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} at=keel i
  local commands options argument files folders free settings words=()
  COMPREPLY=()
  if [[ $current == '=' ]]; then current=; elif [[ $before == '=' ]]; then before=${{COMP_WORDS[COMP_CWORD-2]}}; fi
  for ((i = 1; i < COMP_CWORD; ++i)); do
    case "$at ${{COMP_WORDS[i]}}" in
      {}) at="$at ${{COMP_WORDS[i]}}" ;;
    esac
  done
  case "$at" in
{}  esac
  [[ $before == --* ]] || before=
  case "$at $before" in
{}  esac
  if [[ $before == --set ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$settings" -- "$current")
    compopt -o nospace 2>/dev/null
  elif [[ -n $before && $folders == *" $before "* ]]; then
    mapfile -t COMPREPLY < <(compgen -d -- "$current")
    compopt -o filenames 2>/dev/null
  elif [[ -n $before && $files == *" $before "* ]]; then
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
    compopt -o filenames 2>/dev/null
  elif [[ -n $before && $free == *" $before "* ]]; then
    return
  elif [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
  elif ((${{#words[@]}})); then
    mapfile -t COMPREPLY < <(compgen -W "${{words[*]}}" -- "$current")
  elif [[ -n $commands ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$current")
  elif [[ $argument == folder ]]; then
    mapfile -t COMPREPLY < <(compgen -d -- "$current")
    compopt -o filenames 2>/dev/null
  elif [[ $argument == file ]]; then
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
    compopt -o filenames 2>/dev/null
  else
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
  fi
}}
complete -F _keel keel
)",
                     fmt::join(paths_of(commands), "|"), cases, cases_of_words(commands, "    "));
}

std::string zsh_completion(const std::vector<CompletedCommand>& commands) {
  std::string cases;
  for (const auto& command : commands) {
    Words below, options;
    for (const auto& [name, help] : command.commands)
      below.push_back(quoted(name + ":" + help));
    for (const auto& option : command.options)
      for (const auto& name : option.names)
        options.push_back(quoted(name + ":" + option.help));
    cases += fmt::format("    ({})\n      commands=({})\n      options=({})\n", quoted(command.path), fmt::join(below, " "),
                         fmt::join(options, " "));
    cases += fmt::format("      argument='{}' files=({}) folders=({}) free=({})\n      settings=({}) ;;\n", name_of(command.argument.value),
                         fmt::join(names_of(command, Wanted::file), " "), fmt::join(names_of(command, Wanted::folder), " "),
                         fmt::join(names_of(command, Wanted::word), " "), fmt::join(keys_of(command), " "));
  }
  return fmt::format(R"(#compdef keel
# Completion of keel for zsh, made by: keel completion zsh
_keel() {{
  local at=keel word before=$words[CURRENT-1] argument
  local -a commands options files folders free settings list
  for word in ${{words[2,CURRENT-1]}}; do
    case "$at $word" in
      ({}) at="$at $word" ;;
    esac
  done
  case "$at" in
{}  esac
  [[ $before == --* ]] || before=
  case "$at $before" in
{}  esac
  if [[ $before == --set ]]; then
    compadd -S '' -- $settings
  elif [[ -n $before ]] && (( $folders[(Ie)$before] )); then
    _files -/
  elif [[ -n $before ]] && (( $files[(Ie)$before] )); then
    _files
  elif [[ -n $before ]] && (( $free[(Ie)$before] )); then
    _message value
  elif [[ $PREFIX == -* ]]; then
    _describe -o option options
  elif (( $#list )); then
    compadd -- $list
  elif (( $#commands )); then
    _describe command commands
  elif [[ $argument == folder ]]; then
    _files -/
  elif [[ $argument == file ]]; then
    _files
  else
    _describe -o option options
  fi
}}
if [[ $funcstack[1] == _keel ]]; then _keel "$@"; else compdef _keel keel; fi
)",
                     fmt::join(paths_of(commands), "|"), cases, [&] {
                       std::string text = cases_of_words(commands, "    (");  // zsh's own name for its words is taken
                       for (size_t place = text.find("words=("); place != std::string::npos; place = text.find("words=(", place + 6))
                         text.replace(place, 6, "list=");
                       return text;
                     }());
}

std::string fish_completion(const std::vector<CompletedCommand>& commands) {
  std::string text = fmt::format(R"(# Completion of keel for fish, made by: keel completion fish
function __keel_at
    set -l at keel
    for word in (commandline -opc)[2..-1]
        switch "$at $word"
            case {}
                set at "$at $word"
        end
    end
    test "$at" = "$argv"
end
complete -c keel -f
)",
                                 fmt::join(paths_of(commands), " "));
  const auto values = [](const CompletedOption& option) -> std::string {
    if (option.value == Wanted::file) return " -r -F";
    if (option.value == Wanted::folder) return " -x -a '(__fish_complete_directories)'";
    if (option.value == Wanted::list) return fmt::format(" -x -a '{}'", fmt::join(option.words, " "));
    return " -x";
  };
  for (const auto& command : commands) {
    const std::string here = fmt::format("complete -c keel -n '__keel_at {}'", command.path);
    for (const auto& [name, help] : command.commands)
      text += fmt::format("{} -a {} -d {}\n", here, name, fish_quoted(help));
    for (const auto& option : command.options)
      for (const auto& name : option.names) {
        const bool is_long = name.starts_with("--");
        std::string rest = option.takes_value ? values(option) : "";
        if (name == "--set") rest = fmt::format(" -x -a '{}'", fmt::join(keys_of(command), " "));
        text += fmt::format("{} -{} {}{} -d {}\n", here, is_long ? "l" : "s", name.substr(is_long ? 2 : 1), rest, fish_quoted(option.help));
      }
    if (command.argument.value == Wanted::file) text += here + " -F\n";
    if (command.argument.value == Wanted::folder) text += here + " -a '(__fish_complete_directories)'\n";
    if (command.argument.value == Wanted::list) text += fmt::format("{} -a '{}'\n", here, fmt::join(command.argument.words, " "));
  }
  return text;
}

}  // namespace keel::pipelines::cli
