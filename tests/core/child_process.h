// Runs code in a forked child, for tests of locks, signals, limits and standard streams.
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <stdexcept>

namespace keel::test {

// Forks; the child runs `body` (an int(): its exit status, 99 when it throws) and never comes back to the test runner.
template <class Body>
pid_t start_child(Body body) {
  std::fflush(nullptr);  // else the child would print again what the parent has not yet written
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child == 0) {
    int status = 99;
    try {
      status = body();
    } catch (...) {
      status = 99;
    }
    ::_exit(status);
  }
  return child;
}

// waitpid's status: WIFEXITED, WEXITSTATUS, WIFSIGNALED, WTERMSIG.
inline int wait_for(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

template <class Body>
int run_child(Body body) {
  return wait_for(start_child(body));
}

// Points a standard stream of this (child) process at a file.
inline void redirect(int stream, const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT, 0600);
  if (descriptor < 0 || ::dup2(descriptor, stream) < 0) throw std::runtime_error("redirect failed");
  ::close(descriptor);
}

}  // namespace keel::test
