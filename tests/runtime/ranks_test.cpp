// Gradients of micro-batches that ranks share out.
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

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

}  // namespace keel::runtime
