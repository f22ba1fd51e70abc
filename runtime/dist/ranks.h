// Processes ("ranks") that compute one result together, over c10d and Gloo. All run the same program on the same input and hold the same
// weights; only the pieces of a computation are dealt out, and what they give is then known to all.
// So every rank calls the functions below in the same order. In a process of its own (size() == 1) they do nothing.
//
// A rank that ends with an error ends the others with its reason; so does one that dies, or that the others wait for longer than the
// timeout. A signal to one counts for all from the next gather() on, so that all stop at the same point of the program.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

#include "core/interrupt.h"
#include "core/types.h"
#include "runtime/dist/place.h"

namespace keel::runtime::dist {

// Meets the other ranks: once, before any call below. `program` is what must be equal on all ranks, since it decides the last bits of
// results (runtime::program_versions() as text). UsageError where it differs, and for two processes of one number; IoError where the ranks
// do not meet within five minutes or `timeout`, whichever is shorter; Interrupted where a signal comes before.
void join(const Place& place, const std::string& program, std::chrono::milliseconds timeout = std::chrono::minutes(30));

// Before the process ends. `problem`: why it ends with the exit code `code`, for the other ranks; none where all is done.
void leave(int code = 0, const std::string& problem = {});

// While it lives, this process computes as if it were the only one.
class Alone {
 public:
  Alone();
  Alone(const Alone&) = delete;
  Alone& operator=(const Alone&) = delete;
  ~Alone();
};

int rank();
int size();
int local_size();
inline bool first() {
  return rank() == 0;
}

// Adds up the tensors of all ranks, in place: equal shapes and kinds everywhere, equal bits on all ranks afterwards. Each has memory of its
// own.
void sum(const std::vector<at::Tensor>& tensors);

// Gives all ranks tensors[i] as rank owners[i] has it, in place: equal shapes and kinds everywhere.
void broadcast(const std::vector<at::Tensor>& tensors, const std::vector<int>& owners);

// Gives the first rank tensors[i] as rank owners[i] has it, in place. The others need no more than their own; the rest may be undefined.
void bring_to_first(const std::vector<at::Tensor>& tensors, const std::vector<int>& owners);

// The bytes that each rank gives, in the order of ranks.
std::vector<std::string> gather(const std::string& own);

// Throws where `own` is not the same on all ranks; `what` says what it is, "the weights".
void check_equal(const std::string& what, const std::string& own);

// What the first rank tells the others next: nothing once it has left. They wait without a limit, since it may have work of its own.
void announce(const std::string& message);
std::string next_announcement();

// Bytes that this rank has received in sum(), by Gloo's ring: 2 (n - 1) / n of all tensors' bytes; in broadcast(), gather() and, as the
// first rank, bring_to_first(): those of the others.
int64_t payload_bytes();

// Fills values[i], which rank i % size() knows.
template <class Value>
void share(std::vector<Value>& values) {
  static_assert(std::is_trivially_copyable_v<Value>);
  if (size() == 1) return;
  std::vector<Value> own;
  for (size_t i = static_cast<size_t>(rank()); i < values.size(); i += static_cast<size_t>(size()))
    own.push_back(values[i]);
  const std::vector<std::string> all = gather({reinterpret_cast<const char*>(own.data()), own.size() * sizeof(Value)});
  for (size_t i = 0; i < values.size(); ++i)
    std::memcpy(&values[i], all[i % all.size()].data() + i / all.size() * sizeof(Value), sizeof(Value));
}

// The rows of this rank when they are dealt out in order, about the same number of ids to each, so that rows that
// begin alike mostly stay together.
std::vector<core::Ids> own_part(const std::vector<core::Ids>& rows);

// What values() gives for all rows, some numbers for each: every rank computes its part. Throws core::Interrupted once a signal counts.
template <class Value>
std::vector<Value> by_parts(const std::vector<core::Ids>& rows,
                            const std::function<std::vector<Value>(const std::vector<core::Ids>& part)>& values) {
  static_assert(std::is_trivially_copyable_v<Value>);
  if (size() == 1) return values(rows);
  core::stop_if_interrupted("computing by several ranks");  // all of them here: inside, some may have no rows
  std::vector<Value> all;
  const std::vector<Value> own = values(own_part(rows));
  for (const std::string& part : gather({reinterpret_cast<const char*>(own.data()), own.size() * sizeof(Value)})) {
    if (part.empty()) continue;
    all.resize(all.size() + part.size() / sizeof(Value));
    std::memcpy(all.data() + all.size() - part.size() / sizeof(Value), part.data(), part.size());
  }
  return all;
}

}  // namespace keel::runtime::dist
