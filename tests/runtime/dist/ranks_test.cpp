#include "runtime/dist/ranks.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "core/error.h"
#include "support/test.h"
#include "support/test_ranks.h"

namespace keel::runtime::dist {
namespace {

using Catch::Matchers::ContainsSubstring;
using std::chrono::milliseconds;

// In a hidden test case: meets the other ranks, says how `act` ended, and leaves as main() does.
template <class Act>
void as_rank(const Act& act, milliseconds timeout = std::chrono::seconds(20), const std::string& program = "keel") {
  at::set_num_threads(1);
  const Place place = place_from([](const char* name) { return std::getenv(name); });
  if (place.size == 1) SKIP("a part of the tests of ranks");
  try {
    join(place, program, timeout);
    test::answer_of_member(act());
    leave();
  } catch (const core::Error& error) {
    test::answer_of_member(fmt::format("{} {}", static_cast<int>(error.code()), error.what()));
    leave(static_cast<int>(error.code()), error.what());
  }
}

}  // namespace

TEST_CASE("rank: sums and shares", "[.rank]") {
  as_rank([] {
    const auto own = static_cast<double>(rank() + 1);
    const at::Tensor a = at::full({3}, own), b = at::full({2, 2}, 10 * own, at::kDouble), none = at::zeros({0});
    const at::Tensor columns = at::full({2, 2}, own).t();
    sum({a, none, b, columns});
    const double all = size() * (size() + 1) / 2.0;
    const bool added =
        a.equal(at::full({3}, all)) && b.equal(at::full({2, 2}, 10 * all, at::kDouble)) && columns.sum().item<double>() == 4 * all;

    std::string gathered;
    for (const std::string& text : gather(std::string(static_cast<size_t>(rank()), 'x')))
      gathered += text + ";";

    std::vector<int64_t> values(7, -1);
    for (size_t i = 0; i < values.size(); ++i)
      if (static_cast<int>(i) % size() == rank()) values[i] = static_cast<int64_t>(i * i);
    share(values);

    std::vector<core::Ids> rows;
    for (int64_t i = 0; i < 5; ++i)
      rows.emplace_back(static_cast<size_t>(i == 1 ? 40 : 3), i);
    int64_t computed = 0;
    const std::vector<int64_t> firsts = by_parts<int64_t>(rows, [&](const std::vector<core::Ids>& part) {
      std::vector<int64_t> found;
      for (const core::Ids& row : part)
        found.push_back(row.front());
      computed = std::ssize(part);
      return found;
    });
    check_equal("the firsts", fmt::format("{}", firsts.size()));
    return fmt::format("{} {} {} {} {}", added, gathered, fmt::join(values, ","), fmt::join(firsts, ","), computed);
  });
}

TEST_CASE("ranks: every rank has the sum, what the others gave and what they computed, in order", "[runtime]") {
  CHECK(test::Ranks("rank: sums and shares", 2).answers() ==
        std::vector<std::string>{"true ;x; 0,1,4,9,16,25,36 0,1,2,3,4 2", "true ;x; 0,1,4,9,16,25,36 0,1,2,3,4 3"});
  const auto four = test::Ranks("rank: sums and shares", 4).answers();  // two of them without rows: row 1 has most ids
  int64_t computed = 0;
  for (const std::string& answer : four) {
    CHECK_THAT(answer, ContainsSubstring("true ;x;xx;xxx; 0,1,4,9,16,25,36 0,1,2,3,4 "));
    computed += std::stoll(answer.substr(answer.rfind(' ')));
  }
  CHECK(computed == 5);
}

TEST_CASE("rank: sums two million numbers", "[.rank]") {
  as_rank([] {
    std::vector<at::Tensor> tensors;
    for (int64_t i = 0; i < 10; ++i)
      tensors.push_back(at::full({100'000 + i}, static_cast<double>(rank())));
    sum(tensors);
    sum({at::full({1'000'000}, 1.0)});
    return std::to_string(payload_bytes());
  });
}

TEST_CASE("ranks: a ring all-reduce moves 2 (n - 1) / n of the bytes", "[runtime]") {
  const int64_t bytes = 4 * (10 * 100'000 + 45 + 1'000'000);
  for (const int64_t ranks : {2, 4}) {
    // The greeting's bytes come on top: the program's name from each of the others.
    const int64_t expected = 2 * (ranks - 1) * bytes / ranks + (ranks - 1) * 4;
    for (const std::string& answer : test::Ranks("rank: sums two million numbers", static_cast<int>(ranks)).answers())
      CHECK(std::abs(std::stoll(answer) - expected) <= 1);
  }
}

TEST_CASE("rank: gives tensors away", "[.rank]") {
  as_rank([] {
    // Of several pieces, and of one that does not lie in order. Each rank has its number in all of them.
    const auto own = static_cast<double>(rank());
    const std::vector<at::Tensor> tensors = {at::full({3}, own), at::full({9'000'000}, own), at::full({2, 5}, own).t(), at::full({4}, own)};
    const std::vector<int> owners = {1, 0, 1, size() - 1};
    const auto as_told = [&](const std::vector<at::Tensor>& given) {
      for (size_t i = 0; i < given.size(); ++i)
        if (!given[i].eq(owners[i]).all().item<bool>()) return false;
      return true;
    };
    std::vector<at::Tensor> brought;
    for (size_t i = 0; i < tensors.size(); ++i)
      brought.push_back(first() || owners[i] == rank() ? tensors[i].clone() : at::Tensor());
    bring_to_first(brought, owners);
    broadcast(tensors, owners);
    return fmt::format("{} {}", as_told(tensors), !first() || as_told(brought));
  });
}

TEST_CASE("ranks: all get what its owner has, or the first one does", "[runtime]") {
  for (const int ranks : {2, 3})
    CHECK(test::Ranks("rank: gives tensors away", ranks).answers() == std::vector<std::string>(static_cast<size_t>(ranks), "true true"));
}

TEST_CASE("rank: one gets a signal", "[.rank]") {
  as_rank([] {
    core::install_interrupt_handler({});
    core::hold_interrupts(true);
    if (rank() == 1) std::raise(SIGTERM);
    const bool before = core::interrupt_requested();
    gather({});
    return fmt::format("{} {}", before, core::interrupt_requested());
  });
}

TEST_CASE("ranks: a signal to one counts for all from the same call on", "[runtime]") {
  CHECK(test::Ranks("rank: one gets a signal", 3).answers() == std::vector<std::string>(3, "false true"));
}

TEST_CASE("rank: one fails", "[.rank]") {
  as_rank([]() -> std::string {
    const bool mine = rank() == std::stoi(test::member_argument());
    if (mine) throw core::DataError("pairs.jsonl", 7, "holds no pair");
    gather("x");
    return "went on";
  });
}

TEST_CASE("ranks: where one fails all end with its reason and exit code", "[runtime]") {
  for (const int bad : {0, 1, 3}) {
    const auto answers = test::Ranks("rank: one fails", 5, std::to_string(bad)).answers();  // not all are neighbours in the ring
    for (int rank = 0; rank < 5; ++rank)
      CHECK(answers[static_cast<size_t>(rank)] ==
            (rank == bad ? std::string("3 pairs.jsonl:7: holds no pair")
                         : fmt::format("3 rank {} ended the work of all: pairs.jsonl:7: holds no pair", bad)));
  }
}

TEST_CASE("rank: writes to one that is gone", "[.rank]") {
  as_rank([] {
    std::raise(SIGPIPE);  // what the kernel sends it then
    return std::string("lives");
  });
}

TEST_CASE("ranks: writing to one that is gone does not kill", "[runtime]") {
  CHECK(test::Ranks("rank: writes to one that is gone", 2).answers() == std::vector<std::string>(2, "lives"));
}

TEST_CASE("rank: one fails while the others wait for the first", "[.rank]") {
  as_rank([]() -> std::string {
    if (rank() == 0) {
      std::this_thread::sleep_for(milliseconds(300));
      throw core::IoError("the disk is full");
    }
    return next_announcement();
  });
}

TEST_CASE("ranks: those that wait for the first end with its reason", "[runtime]") {
  const auto answers = test::Ranks("rank: one fails while the others wait for the first", 3).answers();
  CHECK(answers[0] == "74 the disk is full");
  CHECK(answers[1] == "74 rank 0 ended the work of all: the disk is full");
  CHECK(answers[2] == answers[1]);
}

TEST_CASE("rank: waits for messages", "[.rank]") {
  as_rank([] {
    if (first()) {
      for (const char* text : {"one", "two"})
        announce(text);
      return std::string("told");
    }
    std::string heard;
    for (std::string text = next_announcement(); !text.empty(); text = next_announcement())
      heard += text + ";";
    return heard;
  });
}

TEST_CASE("ranks: the first tells the others what comes, and they end when it leaves", "[runtime]") {
  CHECK(test::Ranks("rank: waits for messages", 3).answers() == std::vector<std::string>{"told", "one;two;", "one;two;"});
}

TEST_CASE("rank: computes until a kill", "[.rank]") {
  as_rank([] {
    for (;;)
      sum({at::ones({1000})});
    return std::string();
  });
}

TEST_CASE("ranks: a rank that dies ends the others soon, with what to do", "[runtime]") {
  for (const int victim : {0, 1}) {
    test::Ranks ranks("rank: computes until a kill", 2);
    std::this_thread::sleep_for(milliseconds(1500));
    const auto begin = std::chrono::steady_clock::now();
    ranks.kill(victim, SIGKILL);
    const auto answers = ranks.answers();
    CHECK(answers[static_cast<size_t>(victim)] == "ended by signal 9");
    CHECK_THAT(answers[static_cast<size_t>(1 - victim)],
               ContainsSubstring("74 another rank is gone") && ContainsSubstring("last checkpoint"));
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(8));  // long before any timeout
  }
}

TEST_CASE("rank: one stands still", "[.rank]") {
  as_rank(
      [] {
        if (rank() == 1) std::this_thread::sleep_for(std::chrono::seconds(9));
        sum({at::ones({10})});
        return std::string("summed");
      },
      milliseconds(5000));  // in which slow machines start two processes, too
}

TEST_CASE("ranks: one that stands still is not waited for longer than the timeout", "[runtime]") {
  const auto answers = test::Ranks("rank: one stands still", 2).answers();
  CHECK_THAT(answers[0], ContainsSubstring("74 another rank is gone, or did not answer"));
}

TEST_CASE("ranks: a rank that is never started is missed by its number", "[runtime]") {
  const auto answers = test::Ranks("rank: one stands still", 3, {}, /*started=*/2).answers();
  CHECK_THAT(answers[0],
             ContainsSubstring("74 rank 0 of 3 waited in vain for rank 2 at 127.0.0.1:") && ContainsSubstring("are all ranks started"));
  CHECK(answers[1].starts_with("74 rank "));  // the same, or that rank 0 has gone
}

TEST_CASE("rank: of another build", "[.rank]") {
  as_rank([] { return std::string("went on"); }, std::chrono::seconds(20), std::getenv("RANK") == std::string("1") ? "AVX2" : "AVX512");
}

TEST_CASE("ranks: programs that compute other bits are refused", "[runtime]") {
  for (const std::string& answer : test::Ranks("rank: of another build", 2).answers())
    CHECK_THAT(answer, ContainsSubstring("would not compute the same bits: AVX512 and AVX2"));
}

TEST_CASE("rank: holds other weights", "[.rank]") {
  as_rank([] {
    check_equal("the weights after sft", rank() == 1 ? "a" : "b");
    return std::string("went on");
  });
}

TEST_CASE("ranks: weights that drift apart end the work", "[runtime]") {
  for (const std::string& answer : test::Ranks("rank: holds other weights", 2).answers())
    CHECK_THAT(answer, ContainsSubstring("70 the weights after sft of ranks 0 and 1 differ"));
}

TEST_CASE("rank: works alone for a while", "[.rank]") {
  as_rank([] {
    if (rank() == 0) {
      const Alone here;
      sum({at::ones({3})});
      if (size() != 1 || gather("x").size() != 1) return std::string("not alone");
      check_equal("what the others do not have", "y");
    }
    return std::to_string(gather("x").size());
  });
}

TEST_CASE("ranks: what one computes alone needs no other", "[runtime]") {
  CHECK(test::Ranks("rank: works alone for a while", 2).answers() == std::vector<std::string>{"2", "2"});
}

TEST_CASE("ranks: a process of its own needs none of it", "[runtime]") {
  CHECK((rank() == 0 && size() == 1 && first()));
  const at::Tensor a = test::tensor({1, 2});
  sum({a});
  CHECK(a.equal(test::tensor({1, 2})));
  CHECK(gather("x") == std::vector<std::string>{"x"});
  std::vector<double> values = {1, 2};
  share(values);
  CHECK(values == std::vector<double>{1, 2});
  leave();
}

}  // namespace keel::runtime::dist
