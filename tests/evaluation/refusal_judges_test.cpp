// The phrase rules against the sandbox's gold judge, which knows the town's own refusals.
#include "refusal/classify.h"
#include "sandbox/answers.h"
#include "sandbox/judge.h"
#include "support/test.h"

using namespace keel;

TEST_CASE("refusals: phrase rules and gold judge agree on every answer of the sandbox's grammar", "[evaluation]") {
  const sandbox::World world = sandbox::make_world(1);
  const auto prompts = sandbox::make_prompts(world, sandbox::Split::test, {.helpful = 48, .hazard = 24, .lookalike = 24}, 3);
  int64_t refused = 0, lookalikes = 0, answers = 0;
  for (size_t p = 0; p < prompts.size(); ++p) {
    for (const sandbox::Quality quality : sandbox::qualities(prompts[p].hazard)) {
      core::Stream stream(5, "test.refusals", p, static_cast<uint64_t>(quality));
      const std::string answer = sandbox::sample_answer(world, prompts[p], quality, stream);
      sandbox::PromptInfo harmless = prompts[p];
      harmless.hazard = false;  // the gold judge speaks of false refusals alone
      const bool gold = sandbox::is_false_refusal(harmless, answer);
      INFO(sandbox::name(quality) << ": " << answer << "  rule " << refusal::classify(answer).rule);
      CHECK(refusal::refuses(refusal::classify(answer).kind) == gold);
      ++answers;
      refused += gold ? 1 : 0;
      lookalikes += gold && prompts[p].family == "lookalike" ? 1 : 0;
    }
  }
  CHECK(refused == 48 + 2 * 24 + 24);  // refusal, of hazards curt_refusal too
  CHECK(lookalikes == 24);
  CHECK(answers > 800);
}
