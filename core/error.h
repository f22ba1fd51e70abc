// The kinds of failure that a caller can tell apart. Libraries throw, never print or exit; main() maps each kind to its exit code.
//
// Texts say what was required, what came, and what to do: "data/pairs.jsonl:12: strength must be 1..4, got 7; see docs/formats.md".
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace keel::core {

// Exit codes of the binary (docs/commands.md). 75 and 74 follow sysexits.h: a temporary failure and an I/O error.
enum class Exit : int { done = 0, usage = 2, data = 3, locked = 4, internal = 70, io = 74, interrupted = 75 };

class Error : public std::runtime_error {
 public:
  Error(Exit code, const std::string& text) : std::runtime_error(text), code_(code) {}
  Exit code() const { return code_; }

 private:
  Exit code_;
};

// Usage, a missing path, a refused folder.
struct UsageError : Error {
  explicit UsageError(const std::string& text) : Error(Exit::usage, text) {}
};

// Every problem of a configuration at once, one a line.
struct ConfigError : Error {
  explicit ConfigError(std::vector<std::string> all);
  std::vector<std::string> problems;
};

// Bad or changed input: a data, model or tokenizer file. `line` 0 means that the file has no lines (a binary file).
struct DataError : Error {
  DataError(const std::string& path, int64_t line, const std::string& text);
};

// Another process holds the run.
struct LockedError : Error {
  explicit LockedError(const std::string& text) : Error(Exit::locked, text) {}
};

// The disk is full, a file cannot be written or read.
struct IoError : Error {
  explicit IoError(const std::string& text) : Error(Exit::io, text) {}
};

// SIGINT or SIGTERM arrived; all finished work is on disk, and the same command continues from there.
struct Interrupted : Error {
  explicit Interrupted(const std::string& text) : Error(Exit::interrupted, text) {}
};

}  // namespace keel::core
