// The `keel` binary: reads the command line, runs one command, turns every kind of failure into its exit code.
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <new>

#include "core/config.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "core/progress.h"
#include "core/system_error.h"
#include "core/version.h"
#include "pipelines/cli/common/options.h"
#include "pipelines/cli/completion.h"
#include "pipelines/cli/models/commands.h"
#include "pipelines/cli/runs/commands.h"
#include "pipelines/cli/talk/commands.h"
#include "policy/arithmetic.h"
#include "runtime/device.h"
#include "runtime/dist/ranks.h"

namespace {

namespace cli = keel::pipelines::cli;
namespace dist = keel::runtime::dist;
using keel::core::Exit;

// Variables that libraries read before main(). Those that the user has set stay.
struct EarlyVariable {
  const char* text;     // NAME=value
  const char* unless;   // one that the user may have set in its place
  const char* command;  // that it is for; nullptr: all
};
constexpr EarlyVariable kEarlyVariables[] = {
    // Threads that wait for each other sleep after a short spin. The default, a spin of milliseconds, makes small models several times
    // slower on a busy machine.
    {"GOMP_SPINCOUNT=1000", "OMP_WAIT_POLICY=", nullptr},
    // A service that is quiet again holds 5 MB of freed small objects instead of 30.
    {"TCMALLOC_TRANSFER_NUM_OBJ=2", nullptr, "serve"},
    {"TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES=1000000", nullptr, "serve"},
};

// The next functions run before the constructors of any library, sanitizers' too: nothing but system calls can be used.
#define KEEL_BEFORE_ALL [[gnu::no_sanitize("address", "thread", "undefined")]]

KEEL_BEFORE_ALL bool equal_until(char end, const char* a, const char* b) {  // up to the first `end`, or end of the text, of both
  for (; *a == *b && *a != end && *a != 0; ++a)
    ++b;
  return *a == *b && *a == end;
}

KEEL_BEFORE_ALL bool is_set(char** environment, const char* variable) {  // NAME= with or without a value
  for (; variable != nullptr && *environment != nullptr; ++environment)
    if (equal_until('=', *environment, variable)) return true;
  return false;
}

// Starts the program again with the variables. Before the constructors: LibTorch's take 0.15 seconds. Where its file cannot be told (no
// /proc, or the dynamic loader was started with it as argument, and so has no base of its own) the defaults stay: slower but correct.
KEEL_BEFORE_ALL void start_with_variables(int, char** argv, char** environment) {
  constexpr size_t kMost = 4096;
  char* entries[kMost];
  size_t count = 0;
  for (; environment[count] != nullptr; ++count) {
    if (count + std::size(kEarlyVariables) + 1 >= kMost) return;
    entries[count] = environment[count];
  }
  const size_t given = count;
  for (const EarlyVariable& variable : kEarlyVariables) {
    if (is_set(environment, variable.text) || is_set(environment, variable.unless)) continue;
    const bool is_for_it =
        variable.command == nullptr || (argv[0] != nullptr && argv[1] != nullptr && equal_until(0, argv[1], variable.command));
    if (is_for_it) entries[count++] = const_cast<char*>(variable.text);
  }
  entries[count] = nullptr;
  char file[4096];
  const auto length = ::syscall(SYS_readlink, "/proc/self/exe", file, sizeof file - 1);  // its own name, which tools then show
  if (count == given || ::getauxval(AT_BASE) == 0 || length <= 0) return;
  file[length] = 0;
  ::execve(file, argv, entries);
}

[[gnu::section(".preinit_array"), gnu::used]] void (*const kFirst)(int, char**, char**) = start_with_variables;

int report(Exit code, const std::string& text) {
  keel::core::log_error(dist::size() == 1 ? text : fmt::format("rank {}: {}", dist::rank(), text));
  dist::leave(static_cast<int>(code), text);
  return static_cast<int>(code);
}

// Reports an error of std::filesystem like other missing paths and disk errors.
int report(const std::filesystem::filesystem_error& error) {
  try {
    keel::core::throw_system_error("use", error.path1(), error.code().value());
  } catch (const keel::core::Error& known) {
    return report(known.code(), known.what());
  }
}

// CLI11 reports missing arguments before mistyped ones; the reverse order helps more.
void check_words(const CLI::App& app, int argc, char** argv) {
  const CLI::App* command = &app;
  const auto suggestion = [](const std::string& word, const std::vector<std::string>& known) {
    const std::string near = keel::core::nearest_name(word, known);
    return near.empty() ? std::string() : fmt::format("; did you mean {}?", near);
  };
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word.starts_with("--") && word.size() > 2) {
      const std::string name = word.substr(0, word.find('='));
      if (command->get_option_no_throw(name) != nullptr) continue;
      std::vector<std::string> known;
      for (const CLI::Option* option : command->get_options())
        known.push_back(option->get_name());
      throw keel::core::UsageError(fmt::format("there is no option {}{} (--help lists them)", name, suggestion(name, known)));
    }
    const auto commands = command->get_subcommands([](const CLI::App*) { return true; });
    if (commands.empty()) continue;  // a value or a positional argument
    if (word.starts_with("-")) continue;
    const auto found = std::find_if(commands.begin(), commands.end(), [&](const CLI::App* sub) { return sub->get_name() == word; });
    std::vector<std::string> known;
    for (const CLI::App* sub : commands)
      known.push_back(sub->get_name());
    if (found == commands.end())
      throw keel::core::UsageError(fmt::format("there is no command {}{} (keel --help lists them)", word, suggestion(word, known)));
    command = *found;
  }
}

// Checks that the output was written: a full disk behind standard output is an error too.
int flushed(int code) {
  std::cout.flush();
  return std::cout ? code : report(Exit::io, "standard output could not be written");
}

// Where a launcher started several processes: only the first one speaks, besides errors.
void meet_other_ranks(const cli::common::Invocation& invocation) {
  const dist::Place place = dist::place_from([](const char* name) { return std::getenv(name); });
  if (place.size == 1) return;
  if (!invocation.ranks)
    throw keel::core::UsageError(
        fmt::format("this command is not computed by several ranks, and the environment says that there are {} "
                    "(RANK, WORLD_SIZE and their like); start it alone",
                    place.size));
  std::string program = fmt::format("device {}, precision {}", keel::runtime::device_kind(), keel::policy::arithmetic());
  for (const auto& [name, value] : keel::runtime::program_versions())
    program += fmt::format(", {} {}", name, value);
  dist::join(place, program);
  if (place.rank > 0) {
    if (invocation.log_level != "off") keel::core::set_log_level("error");
    keel::core::hide_progress();
    keel::core::install_interrupt_handler({});
  }
}

int run(int argc, char** argv) {
  cli::common::Invocation invocation;
  CLI::App app{"keel: the Llama 2-Chat alignment recipe. One command per step; `keel COMMAND --help` lists its options and fields.",
               "keel"};
  app.set_version_flag("--version", fmt::format("keel {}", keel::core::kVersion));
  app.require_subcommand(1);
  app.get_formatter()->column_width(38);
  cli::runs::add_run_commands(app, invocation);
  cli::runs::add_plan(app, invocation);
  cli::runs::add_ablate(app, invocation);
  cli::runs::add_lineage_commands(app, invocation);
  cli::runs::add_inspect(app, invocation);
  cli::runs::add_init(app, invocation);
  cli::models::add_step_commands(app, invocation);
  cli::models::add_generate(app, invocation);
  cli::talk::add_chat(app, invocation);
  cli::models::add_logprobs(app, invocation);
  cli::models::add_score(app, invocation);
  cli::models::add_serve(app, invocation);
  cli::models::add_bench(app, invocation);
  cli::models::add_eval_commands(app, invocation);
  cli::talk::add_redteam(app, invocation);
  cli::models::add_tokenize(app, invocation);
  cli::models::add_convert(app, invocation);
  cli::add_completion(app, invocation);
  check_words(app, argc, argv);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& wanted) {  // --help, --version
    return flushed(app.exit(wanted));
  } catch (const CLI::ParseError& error) {
    app.exit(error);
    return static_cast<int>(Exit::usage);
  }
  keel::core::set_log_level(invocation.log_level);
  keel::core::install_interrupt_handler();
  keel::runtime::open_device(invocation.device);
  invocation.device = keel::runtime::device_kind();
  keel::policy::set_arithmetic(invocation.precision);
  keel::runtime::configure_process(invocation.threads);
  meet_other_ranks(invocation);
  invocation.action();
  dist::leave();
  return flushed(static_cast<int>(Exit::done));
}

constexpr const char* kOutOfMemory =
    "out of memory: ask for fewer samples or smaller batches (micro_rows, micro_tokens, batch_rows), or use a smaller model";

// Ends the program without the destructors of LibTorch's tables, which take 0.05 seconds.
[[noreturn]] void end(int code) {
  std::fflush(nullptr);
#ifdef __SANITIZE_ADDRESS__
  std::exit(code);  // which reports leaks
#else
  std::_Exit(code);
#endif
}

int guarded(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const keel::core::Error& error) {
    return report(error.code(), error.what());
  } catch (const std::filesystem::filesystem_error& error) {
    return report(error);
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    return report(Exit::internal, text.find("can't allocate memory") == std::string::npos ? text : kOutOfMemory);
  } catch (const std::bad_alloc&) {
    return report(Exit::internal, kOutOfMemory);
  } catch (const std::exception& error) {
    return report(Exit::internal, error.what());
  }
}

}  // namespace

int main(int argc, char** argv) {
  end(guarded(argc, argv));
}
