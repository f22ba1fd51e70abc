// Gradients of micro-batches that ranks share out, and the optimiser whose moments they share.
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdlib>
#include <map>

#include "runtime/adamw.h"
#include "runtime/parallel.h"
#include "support/test.h"
#include "support/test_ranks.h"

namespace keel::runtime {

TEST_CASE("rank: adds up gradients", "[.rank]") {
  at::set_num_threads(2);
  dist::join(dist::place_from([](const char* name) { return std::getenv(name); }), "keel", std::chrono::seconds(30));
  const at::Tensor a = at::arange(1, 5, at::kFloat), b = at::arange(2, 6, at::kFloat), unused = at::arange(3, at::kFloat);
  const Parameters parameters = {{"a", a}, {"b", b}, {"unused", unused}};
  set_trainable(parameters, true);
  b.mutable_grad() = at::full({4}, 100.0);  // of an earlier call
  std::vector<int64_t> computed;
  const auto squares = accumulate_gradients<int64_t>(parameters, 3, [&](int64_t piece, int64_t& square) {
    computed.push_back(piece);
    square = piece * piece;
    const at::Tensor loss = (static_cast<double>(piece) * a.square()).sum();
    return piece == 2 ? loss + b.sum() : loss;  // one piece alone reaches b
  });
  const bool right = a.grad().equal(6 * a.detach()) && b.grad().equal(at::full({4}, 101.0)) && !unused.grad().defined();
  test::answer_of_member(fmt::format("{} {} {}", right, fmt::join(squares, ","), fmt::join(computed, ",")));
  dist::leave();
}

TEST_CASE("ranks: each computes its own pieces alone, and all have the gradients and measures of all", "[runtime]") {
  CHECK(test::Ranks("rank: adds up gradients", 1).answers().at(0).starts_with("true 0,1,4 "));
  CHECK(test::Ranks("rank: adds up gradients", 2).answers() == std::vector<std::string>{"true 0,1,4 0,2", "true 0,1,4 1"});
  CHECK(test::Ranks("rank: adds up gradients", 4).answers() ==
        std::vector<std::string>{"true 0,1,4 0", "true 0,1,4 1", "true 0,1,4 2", "true 0,1,4 "});
}

namespace {

Parameters three_weights() {
  return {{"small", at::arange(3, at::kFloat)}, {"large", at::arange(1000, at::kFloat) / 100}, {"middle", at::ones({7, 9})}};
}

// Two steps, of the same gradients on every rank.
void two_steps(AdamW& optimizer, const Parameters& parameters) {
  for (int step = 0; step < 2; ++step) {
    for (const auto& [name, tensor] : parameters)
      tensor.mutable_grad() = (tensor.detach() + step).sin();
    optimizer.step(0.1);
  }
}

}  // namespace

TEST_CASE("rank: shares the moments of AdamW", "[.rank]") {
  at::set_num_threads(1);
  dist::join(dist::place_from([](const char* name) { return std::getenv(name); }), "keel", std::chrono::seconds(30));
  const Parameters shared = three_weights(), alone = three_weights(), resumed = three_weights();
  AdamW optimizer(shared, {});
  const int64_t before = dist::payload_bytes();
  two_steps(optimizer, shared);
  const int64_t received = dist::payload_bytes() - before;
  const Parameters state = optimizer.state();
  std::vector<std::string> held;
  for (const auto& [name, tensor] : state)
    if (tensor.defined()) held.push_back(name);
  std::string whole;
  {
    const dist::Alone one;
    AdamW reference(alone, {});
    two_steps(reference, alone);
    whole = digest(reference.state());
  }
  const bool equal = digest(shared) == digest(alone), complete = !dist::first() || digest(state) == whole;

  // What the first rank saves, all go on from, each with its own.
  std::map<std::string, at::Tensor> saved;
  for (const auto& [name, tensor] : three_weights())
    for (const char* prefix : {"optimizer.m.", "optimizer.v."})
      saved[prefix + name] = at::full_like(tensor, 0.25);
  AdamW again(resumed, {});
  again.load_state(saved, 5);
  two_steps(again, resumed);
  const dist::Alone one;
  const Parameters from_there = three_weights();
  AdamW reference(from_there, {});
  reference.load_state(saved, 5);
  two_steps(reference, from_there);
  test::answer_of_member(
      fmt::format("{} {} {} {} {}", equal, complete, digest(resumed) == digest(from_there), received, fmt::join(held, ",")));
  dist::leave();
}

TEST_CASE("ranks: each holds the moments of its own parameters, and the weights are to the bit those of one", "[runtime]") {
  const std::string all = "optimizer.m.small,optimizer.v.small,optimizer.m.large,optimizer.v.large,optimizer.m.middle,optimizer.v.middle";
  CHECK(test::Ranks("rank: shares the moments of AdamW", 1).answers().at(0) == "true true true 0 " + all);
  // In each of two steps a rank receives the weights of the others: 4 bytes of 1000, 63 and 3 numbers.
  CHECK(test::Ranks("rank: shares the moments of AdamW", 2).answers() ==
        std::vector<std::string>{"true true true 528 " + all,
                                 "true true true 8000 optimizer.m.small,optimizer.v.small,optimizer.m.middle,optimizer.v.middle"});
  CHECK(test::Ranks("rank: shares the moments of AdamW", 4).answers() ==
        std::vector<std::string>{"true true true 528 " + all, "true true true 8024 optimizer.m.middle,optimizer.v.middle",
                                 "true true true 8504 optimizer.m.small,optimizer.v.small", "true true true 8528 "});
}

}  // namespace keel::runtime
