// Several ranks of one computation (runtime/dist/ranks.h) in a test: each is this test program once more, with one hidden test case.
#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/test_plain.h"

namespace keel::test {

inline int free_port() {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  const bool bound = bind(listener, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                     getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  close(listener);
  if (!bound) throw std::runtime_error("no free port");
  return ntohs(address.sin_port);
}

// What torchrun tells a process of its place, in this process's environment.
inline void set_place(int rank, int size, int port) {
  setenv("RANK", std::to_string(rank).c_str(), 1);
  setenv("WORLD_SIZE", std::to_string(size).c_str(), 1);
  setenv("MASTER_ADDR", "127.0.0.1", 1);
  setenv("MASTER_PORT", std::to_string(port).c_str(), 1);
}

// Ranks that run the test case `name` (without commas) of this program. It gets `argument` by member_argument() and answers by
// answer_of_member().
class Ranks {
 public:
  Ranks(const std::string& name, int size, const std::string& argument = {}, int started = -1) {
    const int port = free_port();
    for (int rank = 0; rank < (started < 0 ? size : started); ++rank) {
      const pid_t child = fork();
      if (child == 0) {
        set_place(rank, size, port);
        setenv("KEEL_TEST_ARGUMENT", argument.c_str(), 1);
        setenv("KEEL_TEST_ANSWER", answer_file(rank).c_str(), 1);
        setenv("GOMP_SPINCOUNT", "1000", 1);
        dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
        const std::string program = std::filesystem::read_symlink("/proc/self/exe");
        std::vector<std::string> words = {program, name};
        char* arguments[] = {words[0].data(), words[1].data(), nullptr};
        execv(program.c_str(), arguments);
        _exit(126);
      }
      children_.push_back(child);
    }
  }
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;
  ~Ranks() {
    for (const pid_t child : children_)
      if (child > 0) ::kill(child, SIGKILL), waitpid(child, nullptr, 0);
  }

  void kill(int rank, int signal) const { ::kill(children_.at(static_cast<size_t>(rank)), signal); }

  // Each rank's answer, once all have ended; "ended by signal 9", or "failed" where the test case did.
  std::vector<std::string> answers() {
    std::vector<std::string> all;
    for (size_t rank = 0; rank < children_.size(); ++rank) {
      int status = 0;
      waitpid(std::exchange(children_[rank], 0), &status, 0);
      all.push_back(WIFSIGNALED(status)        ? "ended by signal " + std::to_string(WTERMSIG(status))
                    : WEXITSTATUS(status) != 0 ? "failed"
                                               : read_text(answer_file(static_cast<int>(rank))));
    }
    return all;
  }

 private:
  std::string answer_file(int rank) const { return folder_ / std::to_string(rank); }

  TemporaryFolder folder_;
  std::vector<pid_t> children_;
};

inline std::string member_argument() {
  const char* text = std::getenv("KEEL_TEST_ARGUMENT");
  return text == nullptr ? "" : text;
}

inline void answer_of_member(const std::string& text) {
  if (const char* file = std::getenv("KEEL_TEST_ANSWER")) write_text(file, text);
}

}  // namespace keel::test
