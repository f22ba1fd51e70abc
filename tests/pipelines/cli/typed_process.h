// keel with a person who types: a pipe as its standard input.
#pragma once

#include <optional>

#include "pipelines/cli/keel_binary.h"

namespace keel::test {

class TypedProcess {
 public:
  TypedProcess(const Workplace& work, std::vector<std::string> arguments) : out_(work / "typed.out"), err_(work / "typed.err") {
    std::filesystem::remove(out_);
    std::filesystem::remove(err_);
    int in[2] = {};
    REQUIRE(pipe(in) == 0);
    fcntl(in[1], F_SETFD, FD_CLOEXEC);
    arguments.insert(arguments.begin(), "keel");
    arguments.insert(arguments.end(), {"--threads", "1"});
    std::vector<char*> argv;
    for (auto& argument : arguments)
      argv.push_back(argument.data());
    argv.push_back(nullptr);
    child_ = fork();
    if (child_ == 0) {
      const int out = open(out_.c_str(), O_WRONLY | O_CREAT, 0600), err = open(err_.c_str(), O_WRONLY | O_CREAT, 0600);
      if (chdir(work.path().c_str()) == 0 && dup2(in[0], STDIN_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0 &&
          dup2(err, STDERR_FILENO) >= 0)
        execv(KEEL_BINARY, argv.data());
      _exit(126);
    }
    close(in[0]);
    input_ = in[1];
  }
  TypedProcess(const TypedProcess&) = delete;
  TypedProcess& operator=(const TypedProcess&) = delete;
  ~TypedProcess() {
    if (child_ <= 0) return;
    kill(child_, SIGKILL);
    end();
  }

  void type(const std::string& lines) const { [[maybe_unused]] const auto sent = write(input_, lines.data(), lines.size()); }
  void signal(int number) const { kill(child_, number); }
  std::string out() const { return std::filesystem::exists(out_) ? read_text(out_) : ""; }

  // Waits for a text in what is printed.
  bool printed(const std::string& text, double seconds = 60) const {
    for (double waited = 0; waited < seconds; waited += 0.01) {
      if (out().find(text) != std::string::npos) return true;
      usleep(10'000);
    }
    return false;
  }

  // Ends the input and waits.
  Outcome end() {
    if (input_ >= 0) close(input_);
    input_ = -1;
    int status = 0;
    waitpid(child_, &status, 0);
    child_ = 0;
    return {.code = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status), .out = out(), .err = read_text(err_)};
  }

 private:
  std::filesystem::path out_, err_;
  pid_t child_ = 0;
  int input_ = -1;
};

// What keel prints on a terminal; nothing where there are no pseudo-terminals.
inline std::optional<std::string> on_terminal(const Workplace& work, std::vector<std::string> arguments, bool no_color) {
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) return std::nullopt;
  const std::string name = ptsname(master);
  arguments.insert(arguments.begin(), "keel");
  arguments.insert(arguments.end(), {"--threads", "1"});
  std::vector<char*> argv;
  for (auto& argument : arguments)
    argv.push_back(argument.data());
  argv.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    if (no_color)
      setenv("NO_COLOR", "1", 1);
    else
      unsetenv("NO_COLOR");
    const int terminal = open(name.c_str(), O_RDWR | O_NOCTTY);
    if (chdir(work.path().c_str()) == 0 && dup2(terminal, STDOUT_FILENO) >= 0) execv(KEEL_BINARY, argv.data());
    _exit(126);
  }
  std::string screen;
  fcntl(master, F_SETFL, O_NONBLOCK);
  for (int status = 0, ended = 0;; usleep(5000)) {
    char bytes[4096];
    ssize_t got = 0;
    while ((got = read(master, bytes, sizeof bytes)) > 0)
      screen.append(bytes, static_cast<size_t>(got));
    if (ended != 0) break;
    ended = waitpid(child, &status, WNOHANG);  // then once more what is left
  }
  close(master);
  return screen;
}

}  // namespace keel::test
