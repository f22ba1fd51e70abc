#include "policy/generator.h"

#include "core/error.h"
#include "core/interrupt.h"
#include "policy/lively_model.h"
#include "policy/lora.h"

using keel::core::Ids;
using keel::core::Sample;
using keel::policy::GenerationJob;
using keel::policy::Generator;
using keel::policy::Llama;

namespace {

constexpr int64_t kPlenty = 1 << 20;

keel::policy::LlamaConfig long_context() {
  auto shape = keel::test::lively_config();
  shape.max_position_embeddings = 200;
  shape.intermediate_size = 1200;  // work enough for several threads
  return shape;
}

// Ten dialogues of five turns, each of whose prompts is the one before, its first answer and a few ids more. `answer` gets the jobs.
template <class Answer>
std::vector<std::vector<Sample>> hold_dialogues(int64_t samples, Answer&& answer) {
  std::vector<Ids> prompts;
  for (size_t i = 0; i < 10; ++i)
    prompts.push_back(keel::test::some_ids(i, 3 + 2 * i));
  std::vector<std::vector<Sample>> turns;
  for (size_t turn = 0; turn < 5; ++turn) {
    turns.push_back(answer(GenerationJob{.prompts = prompts,
                                         .samples = samples,
                                         .sampling = {.max_new_tokens = 12},
                                         .stop_ids = {5},
                                         .seed = 3,
                                         .purpose = "turn " + std::to_string(turn)}));
    for (size_t i = 0; i < prompts.size(); ++i) {
      prompts[i] = keel::core::joined(prompts[i], turns.back()[i * static_cast<size_t>(samples)].ids);
      prompts[i] = keel::core::joined(prompts[i], keel::test::some_ids(20 + turn, 4));
    }
  }
  return turns;
}

void check_same(const std::vector<std::vector<Sample>>& a, const std::vector<std::vector<Sample>>& b) {
  REQUIRE(a.size() == b.size());
  for (size_t turn = 0; turn < a.size(); ++turn) {
    REQUIRE(a[turn].size() == b[turn].size());
    for (size_t i = 0; i < a[turn].size(); ++i) {
      CHECK(a[turn][i].ids == b[turn][i].ids);
      CHECK(a[turn][i].logprobs == b[turn][i].logprobs);
    }
  }
}

}  // namespace

TEST_CASE("generator: a dialogue's next turn is read from where the last one ended, and nothing else changes, to the bit", "[policy]") {
  const Llama model = keel::test::lively_llama(long_context());
  const int64_t samples = GENERATE(1, 3);
  const auto reference = hold_dialogues(samples, [&](const GenerationJob& job) { return generate(model, job); });
  for (const int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    Generator generator(model, kPlenty);
    check_same(hold_dialogues(samples, [&](const GenerationJob& job) { return generator.generate(job); }), reference);
    // Read once: the first prompts (120 ids); of each of the four later turns' ten prompts four ids and the last id of the answer.
    if (samples == 1) CHECK(generator.prompt_tokens_read() == 120 + 4 * 10 * 5);
  }
  at::set_num_threads(1);
}

TEST_CASE("generator: too little memory for all dialogues changes no answer", "[policy]") {
  const Llama model = keel::test::lively_llama(long_context());
  const auto reference = hold_dialogues(1, [&](const GenerationJob& job) { return generate(model, job); });
  constexpr int64_t kPageBytes = 2 * 2 * 16 * (4 + 16) * 4;  // layers, heads of keys, positions, a key of 4 and a value padded to 16
  Generator few(model, 20 * kPageBytes), none(model);
  check_same(hold_dialogues(1, [&](const GenerationJob& job) { return few.generate(job); }), reference);
  check_same(hold_dialogues(1, [&](const GenerationJob& job) { return none.generate(job); }), reference);
  CHECK(few.pages_in_use() > 0);
  CHECK(few.pages_in_use() <= 20);
  CHECK(few.prompt_tokens_read() < none.prompt_tokens_read());
  CHECK(none.pages_in_use() == 0);
}

TEST_CASE("generator: an interrupted answer gives its memory back", "[policy]") {
  Generator generator(keel::test::lively_llama(long_context()), kPlenty);
  GenerationJob job{.prompts = keel::test::some_rows({3, 40, 8}), .samples = 2, .sampling = {.max_new_tokens = 12}, .seed = 1};
  generator.generate(job);
  const int64_t before = generator.pages_in_use();
  job.purpose = "again";
  job.sampled = [](int64_t, int64_t) { keel::core::request_interrupt(); };
  CHECK_THROWS_AS(generator.generate(job), keel::core::Interrupted);
  keel::core::clear_interrupt();
  CHECK(generator.pages_in_use() == before);
}

TEST_CASE("generator: models with adapters, and those that plain operators compute, answer as generate() does", "[policy]") {
  const bool adapters = GENERATE(false, true);
  Llama model = keel::test::lively_llama(long_context());
  if (adapters) {
    model = with_lora(model, {.rank = 2}, 1, "test");
    for (const auto& [name, tensor] : lora_parameters(model))
      tensor.copy_(at::arange(tensor.numel(), at::kDouble).sin().view(tensor.sizes()));
  } else {
    visit_weights(model, [](const std::string&, at::Tensor& tensor) { tensor = tensor.to(at::kBFloat16); });
  }
  const auto reference = hold_dialogues(1, [&](const GenerationJob& job) { return generate(model, job); });
  Generator generator(model, kPlenty);
  check_same(hold_dialogues(1, [&](const GenerationJob& job) { return generator.generate(job); }), reference);
}
