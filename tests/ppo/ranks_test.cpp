// Several ranks compute what one does: answers, log-probs and scores to the bit, training up to the order of its sums.
#include <ATen/Parallel.h>

#include "core/json.h"
#include "ppo/small_chain.h"
#include "runtime/dist/ranks.h"
#include "support/test_ranks.h"

namespace keel::ppo {

namespace dist = runtime::dist;

TEST_CASE("rank: answers and trains", "[.rank]") {
  at::set_num_threads(std::stoi(test::member_argument()));
  dist::join(dist::place_from([](const char* name) { return std::getenv(name); }), "keel", std::chrono::seconds(60));
  test::answer_of_member(core::dump_json(test::small_chain()));
  dist::leave();
}

TEST_CASE("ranks: answers, log-probs and scores are those of one rank to the bit, training's numbers up to rounding", "[ppo]") {
  const auto parsed = [](const std::string& text) { return core::parse_json(text, "a rank's answer"); };
  const nlohmann::json alone = parsed(test::Ranks("rank: answers and trains", 1, "1").answers().at(0));
  for (const auto& [size, threads] : {std::pair(2, "1"), {2, "4"}, {3, "1"}, {4, "1"}}) {
    INFO(size << " ranks of " << threads << " threads");
    const auto answers = test::Ranks("rank: answers and trains", size, threads).answers();
    for (const std::string& answer : answers)
      CHECK(answer == answers[0]);  // weights too
    const nlohmann::json together = parsed(answers[0]);
    CHECK(together.at("exact") == alone.at("exact"));
    test::check_close(together, alone);
  }
}

}  // namespace keel::ppo
