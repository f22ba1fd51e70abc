#include "runtime/dist/ranks.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Logging.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <memory>
#include <span>
#include <thread>

#include "core/error.h"
#include "core/files.h"
#include "core/interrupt.h"
#include "core/log.h"

namespace keel::runtime::dist {
namespace {

using Store = c10::intrusive_ptr<c10d::Store>;
using std::chrono::milliseconds;

struct Group {
  Place place;
  Store store;
  std::unique_ptr<c10d::ProcessGroupGloo> gloo;
  int64_t announcements = 0;
  int64_t payload = 0;
};

std::unique_ptr<Group> group;  // of this process
int working_alone = 0;

bool alone() {
  return !group || working_alone > 0;
}

constexpr const char* kEnded = "ended";         // the store's key for the first rank that ended with an error: "CODE RANK REASON"
constexpr const char* kEnding = "ended/count";  // how many ranks know of it

std::string announcement_key(int64_t number) {
  return fmt::format("announcement/{}", number);
}

// Ends this rank as another one asked for; returns where none did, or the store is gone with it.
void follow_ended_rank() {
  std::string text;
  try {
    if (!group->store->check({kEnded})) return;
    text = group->store->get_to_str(kEnded);
  } catch (const std::exception&) {
    return;
  }
  const size_t code = text.find(' '), who = text.find(' ', code + 1);
  throw core::Error(static_cast<core::Exit>(std::stoi(text.substr(0, code))),
                    fmt::format("rank {} ended the work of all: {}", text.substr(code + 1, who - code - 1), text.substr(who + 1)));
}

// Runs a piece of communication. Its failure is another rank's end, or the network's.
template <class Call>
auto communicate(Call&& call) {
  try {
    return call();
  } catch (const core::Error&) {
    throw;
  } catch (const std::exception& error) {
    std::this_thread::sleep_for(milliseconds(200));  // a rank that fails tells why before it goes, but the news of its end may be faster
    follow_ended_rank();
    const std::string text = error.what();
    throw core::IoError(
        fmt::format("another rank is gone, or did not answer in time; give the same command again to all ranks, and it goes "
                    "on from the last checkpoint ({})",
                    text.substr(0, text.find('\n'))));
  }
}

// What becomes of the numbers of tensors that travel: this rank gives them, takes others in their place, or both.
enum class Way { give, take, both };

// Calls use() with the numbers of neighbouring tensors in one flat tensor of the host.
template <class Use>
void in_pieces(const std::vector<at::Tensor>& tensors, Way way, Use&& use) {
  const at::NoGradGuard no_grad;
  constexpr int64_t kTogether = int64_t{8} << 20;  // numbers: small tensors travel together, and the copy stays small
  for (size_t begin = 0, end = 0; begin < tensors.size(); begin = end) {
    int64_t numbers = 0;
    for (; end < tensors.size() &&
           (end == begin || (numbers + tensors[end].numel() <= kTogether && tensors[end].scalar_type() == tensors[begin].scalar_type()));
         ++end) {
      numbers += tensors[end].numel();
    }
    const bool as_it_lies = end == begin + 1 && tensors[begin].is_contiguous() && tensors[begin].is_cpu();
    std::vector<at::Tensor> whole = {as_it_lies ? tensors[begin].view({-1})
                                                : at::empty({numbers}, tensors[begin].options().requires_grad(false).device(at::kCPU))};
    std::vector<at::Tensor> parts;
    for (int64_t at = 0; const at::Tensor& tensor : std::span(tensors).subspan(begin, end - begin)) {
      parts.push_back(whole[0].narrow(0, at, tensor.numel()).view(tensor.sizes()));
      at += tensor.numel();
    }
    for (size_t i = 0; i < parts.size() && !as_it_lies && way != Way::take; ++i)
      parts[i].copy_(tensors[begin + i]);
    use(whole);
    for (size_t i = 0; i < parts.size() && !as_it_lies && way != Way::give; ++i)
      tensors[begin + i].copy_(parts[i]);
  }
}

// What travels before a rank's bytes. A signal that one rank got counts for all once they have its greeting.
struct Greeting {
  int64_t length = 0;
  int64_t signal = 0;
};

// Of each rank a greeting and, after it, as many of its bytes as fit into `room`.
std::vector<std::string> all_gather(const std::string& own, size_t room) {
  const Greeting greeting{.length = std::ssize(own), .signal = core::interrupt_signal()};
  const auto bytes = static_cast<int64_t>(sizeof(Greeting) + room);
  std::vector<at::Tensor> input = {at::zeros({bytes}, at::kByte)};
  auto* to = static_cast<char*>(input[0].mutable_data_ptr());
  std::memcpy(to, &greeting, sizeof(Greeting));
  std::memcpy(to + sizeof(Greeting), own.data(), std::min(own.size(), room));
  std::vector<std::vector<at::Tensor>> all(1);
  for (int i = 0; i < group->place.size; ++i)
    all[0].push_back(at::empty({bytes}, at::kByte));
  group->gloo->allgather(all, input)->wait();
  std::vector<std::string> parts;
  for (const at::Tensor& part : all[0])
    parts.emplace_back(static_cast<const char*>(part.const_data_ptr()), part.nbytes());
  return parts;
}

Greeting greeting_of(const std::string& part) {
  Greeting greeting;
  std::memcpy(&greeting, part.data(), sizeof(Greeting));
  return greeting;
}

using Clock = std::chrono::steady_clock;

// What waits for other processes until a deadline: a signal ends it, and after a while it says for whom it waits.
class Waiting {
 public:
  explicit Waiting(milliseconds longest) : deadline_(Clock::now() + longest), told_(Clock::now() + std::chrono::seconds(10)) {}

  // False when the time is over.
  template <class Text>
  bool go_on(const Text& for_whom) {
    if (core::interrupt_requested()) throw core::Interrupted("stopped before all ranks had met");
    if (Clock::now() >= deadline_) return false;
    if (Clock::now() >= told_) {
      core::log_warn(fmt::format("waiting for {}", for_whom()));
      told_ = deadline_;
    }
    std::this_thread::sleep_for(milliseconds(100));
    return true;
  }

 private:
  Clock::time_point deadline_, told_;
};

// Connects to the store, which rank 0 serves where the launcher does not.
Store open_store(const Place& place, Waiting& waiting) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(place.port);
  options.isServer = place.rank == 0 && !place.store_is_there;
  options.waitWorkers = false;
  options.timeout = std::chrono::seconds(2);  // of a try
  for (;;) {
    try {
      const auto store = c10::make_intrusive<c10d::TCPStore>(place.address, options);
      store->setTimeout(std::chrono::minutes(5));
      return c10::make_intrusive<c10d::PrefixStore>(fmt::format("keel/{}", place.attempt), store);
    } catch (const std::exception& error) {
      const std::string text = error.what();
      if (text.find("EADDRINUSE") != std::string::npos)
        throw core::UsageError(
            fmt::format("port {} of {} is taken: by another program or launch, or by a second process with RANK=0; give "
                        "each process its own number, or all of them another MASTER_PORT",
                        place.port, place.address));
      if (!waiting.go_on([&] { return fmt::format("rank 0 at {}:{}", place.address, place.port); }))
        throw core::IoError(fmt::format("rank {} of {} found no rank 0 at {}:{} ({}); is it started, and is that its address?", place.rank,
                                        place.size, place.address, place.port, text.substr(0, text.find('\n'))));
    }
  }
}

// Returns when all ranks have come.
void meet(const Place& place, c10d::Store& store, Waiting& waiting) {
  const auto key = [](int rank) { return fmt::format("here/{}", rank); };
  if (store.add(key(place.rank), 1) > 1)
    throw core::UsageError(fmt::format("two processes are rank {} of {}: give each its own number", place.rank, place.size));
  const auto missing = [&] {
    std::vector<int> ranks;
    for (int rank = 0; rank < place.size; ++rank)
      if (!store.check({key(rank)})) ranks.push_back(rank);
    return fmt::format("rank {} at {}:{}", fmt::join(ranks, ", "), place.address, place.port);
  };
  for (store.add("here", 1); store.add("here", 0) < place.size;)
    if (!waiting.go_on(missing))
      throw core::IoError(fmt::format("rank {} of {} waited in vain for {}; are all ranks started, and does each reach that address?",
                                      place.rank, place.size, missing()));
}

}  // namespace

void join(const Place& place, const std::string& program, milliseconds timeout) {
  if (place.size == 1) return;
  FLAGS_caffe2_log_level = c10::GLOG_FATAL;  // c10d logs with stack traces; what it says is in the errors below
  std::signal(SIGPIPE, SIG_IGN);             // gloo writes to the socket of a rank that is gone: an error to tell, not a death
  const milliseconds meeting = std::min<milliseconds>(timeout, std::chrono::minutes(5));
  Waiting waiting(meeting);
  const Store store = open_store(place, waiting);
  try {
    meet(place, *store, waiting);
  } catch (const core::Error&) {
    throw;
  } catch (const std::exception&) {
    throw core::IoError(fmt::format("rank 0 at {}:{} is gone before all ranks had met", place.address, place.port));
  }
  try {
    group = std::make_unique<Group>(Group{.place = place, .store = store, .gloo = nullptr});
    const auto options = c10d::ProcessGroupGloo::Options::create_default(meeting);
    group->gloo = std::make_unique<c10d::ProcessGroupGloo>(group->store, place.rank, place.size, options);
    group->gloo->barrier()->wait();
    group->gloo->setTimeout(timeout);
  } catch (const std::exception& error) {
    const std::string text = error.what();
    throw core::IoError(
        fmt::format("the ranks have met, but rank {} cannot be connected to the others ({}); GLOO_SOCKET_IFNAME names the "
                    "network interface to use",
                    place.rank, text.substr(0, text.find('\n'))));
  }
  const std::vector<std::string> programs = gather(program);
  for (size_t i = 0; i < programs.size(); ++i)
    if (programs[i] != programs[0])
      throw core::UsageError(
          fmt::format("ranks 0 and {} would not compute the same bits: {} and {}; start one build of keel on machines "
                      "of one vector level (ATEN_CPU_CAPABILITY=avx2 brings the others down to it)",
                      i, programs[0], programs[i]));
}

void leave(int code, const std::string& problem) {
  if (!group) return;
  // Rank 0 may serve the store: it stays until the others have read what they must know, or for a while.
  const bool serves = group->place.rank == 0 && !group->place.store_is_there;
  const auto stay = [&](const char* key, int64_t others) {
    for (int tries = 0; serves && tries < 60 && group->store->add(key, 0) < others; ++tries)
      std::this_thread::sleep_for(milliseconds(50));
  };
  try {
    if (!problem.empty()) {
      group->store->compareSet(kEnded, std::string(), fmt::format("{} {} {}", code, group->place.rank, problem));
      group->gloo.reset();  // which tells those that wait for this rank
      group->store->add(kEnding, 1);
      stay(kEnding, group->place.size);
    } else if (group->place.rank == 0) {
      announce({});
      stay("left", group->place.size - 1);
    } else {
      group->store->add("left", 1);
    }
  } catch (const std::exception&) {  // the others are gone already
  }
  group.reset();
}

Alone::Alone() {
  ++working_alone;
}
Alone::~Alone() {
  --working_alone;
}

int rank() {
  return alone() ? 0 : group->place.rank;
}
int size() {
  return alone() ? 1 : group->place.size;
}
int local_size() {
  return group ? group->place.local_size : 1;
}
int64_t payload_bytes() {
  return group ? group->payload : 0;
}

void sum(const std::vector<at::Tensor>& tensors) {
  if (alone()) return;
  communicate([&] {
    in_pieces(tensors, Way::both, [](std::vector<at::Tensor>& whole) {
      group->gloo->allreduce(whole)->wait();
      group->payload += 2 * (size() - 1) * static_cast<int64_t>(whole[0].nbytes()) / size();
    });
  });
}

void broadcast(const std::vector<at::Tensor>& tensors, const std::vector<int>& owners) {
  if (alone()) return;
  communicate([&] {
    for (int owner = 0; owner < size(); ++owner) {
      std::vector<at::Tensor> owned;
      for (size_t i = 0; i < tensors.size(); ++i)
        if (owners[i] == owner) owned.push_back(tensors[i]);
      in_pieces(owned, owner == rank() ? Way::give : Way::take, [&](std::vector<at::Tensor>& whole) {
        c10d::BroadcastOptions options;
        options.rootRank = owner;
        group->gloo->broadcast(whole, options)->wait();
        if (owner != rank()) group->payload += static_cast<int64_t>(whole[0].nbytes());
      });
    }
  });
}

void bring_to_first(const std::vector<at::Tensor>& tensors, const std::vector<int>& owners) {
  if (alone()) return;
  communicate([&] {
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (owners[i] == 0 || (!first() && owners[i] != rank())) continue;
      in_pieces({tensors[i]}, first() ? Way::take : Way::give, [&](std::vector<at::Tensor>& whole) {
        const int tag = static_cast<int>(i);
        (first() ? group->gloo->recv(whole, owners[i], tag) : group->gloo->send(whole, 0, tag))->wait();
        if (first()) group->payload += static_cast<int64_t>(whole[0].nbytes());
      });
    }
  });
}

std::vector<std::string> gather(const std::string& own) {
  if (alone()) return {own};
  return communicate([&] {
    constexpr size_t kShort = 1024;  // what fits needs no second turn
    std::vector<std::string> all = all_gather(own, kShort);
    int64_t longest = 0, signal = 0;
    for (const std::string& part : all) {
      longest = std::max(longest, greeting_of(part).length);
      signal = std::max(signal, greeting_of(part).signal);
    }
    core::agree_on_interrupt(static_cast<int>(signal));
    if (longest > static_cast<int64_t>(kShort)) all = all_gather(own, static_cast<size_t>(longest));
    for (std::string& part : all) {
      const int64_t length = greeting_of(part).length;
      part = part.substr(sizeof(Greeting), static_cast<size_t>(length));
      group->payload += length;
    }
    group->payload -= std::ssize(own);
    return all;
  });
}

void check_equal(const std::string& what, const std::string& own) {
  const std::vector<std::string> all = gather(core::sha256(own));
  for (size_t i = 1; i < all.size(); ++i)
    if (all[i] != all[0])
      throw core::Error(core::Exit::internal, fmt::format("{} of ranks 0 and {} differ, so the work stops: its folder, the machines, their "
                                                          "libraries and keel must be the same for all ranks",
                                                          what, i));
}

void announce(const std::string& message) {
  if (!alone()) communicate([&] { group->store->set(announcement_key(group->announcements++), message); });
}

std::string next_announcement() {
  return communicate([&] {
    const std::string key = announcement_key(group->announcements++);
    while (!group->store->check({key})) {
      follow_ended_rank();
      std::this_thread::sleep_for(milliseconds(50));
    }
    return group->store->get_to_str(key);
  });
}

std::vector<core::Ids> own_part(const std::vector<core::Ids>& rows) {
  int64_t total = 0;
  for (const core::Ids& row : rows)
    total += std::ssize(row);
  // Row i belongs to the rank in whose share of all ids its middle lies.
  std::vector<core::Ids> own;
  int64_t before = 0;
  for (const core::Ids& row : rows) {
    const int64_t middle = 2 * before + std::ssize(row);
    before += std::ssize(row);
    if (std::min<int64_t>(middle * size() / std::max<int64_t>(2 * total, 1), size() - 1) == rank()) own.push_back(row);
  }
  return own;
}

}  // namespace keel::runtime::dist
