#include "policy/generate.h"

#include <cmath>
#include <mutex>

#include "core/error.h"
#include "core/interrupt.h"
#include "policy/lively_model.h"
#include "policy/plain_generation.h"

using Catch::Matchers::ContainsSubstring;
using keel::core::FinishReason;
using keel::core::Ids;
using keel::core::Sample;
using keel::policy::generate;
using keel::policy::GenerationJob;
using keel::policy::Llama;
using keel::policy::SamplingConfig;
using keel::test::floats;

namespace {

std::vector<Ids> five_prompts() {
  return keel::test::some_rows({3, 1, 8, 3, 5});
}

void check_same(const std::vector<Sample>& a, const std::vector<Sample>& b) {
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    CHECK(a[i].prompt == b[i].prompt);
    CHECK(a[i].sample == b[i].sample);
    CHECK(a[i].ids == b[i].ids);
    CHECK(a[i].finish == b[i].finish);
    CHECK(a[i].logprobs == b[i].logprobs);
  }
}

Ids followed_by(Ids prompt, const Ids& answer) {
  prompt.insert(prompt.end(), answer.begin(), answer.end());
  return prompt;
}

// Greedy decoding by definition: the whole row through the model for each token.
Ids argmax_loop(const Llama& model, Ids ids, int64_t tokens) {
  Ids answer;
  for (int64_t t = 0; t < tokens; ++t) {
    const at::Tensor hidden = hidden_states(model, keel::runtime::pad_right({ids}));
    answer.push_back(logits_of(model, hidden)[0][-1].argmax().item<int64_t>());
    ids.push_back(answer.back());
  }
  return answer;
}

}  // namespace

TEST_CASE("generate: samples and their log-probs are the same to the bit whatever the batch size and the threads", "[policy]") {
  auto shape = keel::test::lively_config();
  shape.intermediate_size = 1200;  // work enough for several threads
  const Llama model = keel::test::lively_llama(shape);
  GenerationJob job{.prompts = five_prompts(), .samples = 6, .sampling = {.max_new_tokens = 12}, .stop_ids = {5, 9}, .seed = 4};
  const auto reference = generate(model, job);
  REQUIRE(reference.size() == 30);
  CHECK(reference[13].prompt == 2);
  CHECK(reference[13].sample == 1);
  CHECK(reference[12].ids != reference[13].ids);
  for (const int64_t rows : {1, 2, 4, 7}) {
    job.batch_rows = rows;
    for (const int threads : {1, 2, 3, 5}) {  // 30 answers are dealt out to two and three threads, and written by five together
      at::set_num_threads(threads);
      check_same(generate(model, job), reference);
    }
  }
  at::set_num_threads(1);
  job.batch_rows = 0;
  CHECK_THROWS_WITH(generate(model, job), ContainsSubstring("batch_rows must be at least 1, got 0"));
}

TEST_CASE("generate: samples depend on the record of their prompt, not on company and order", "[policy]") {
  const Llama model = keel::test::lively_llama();
  const GenerationJob job{
      .prompts = five_prompts(), .samples = 2, .sampling = {.max_new_tokens = 12}, .stop_ids = {5}, .seed = 4, .batch_rows = 4};
  const auto reference = generate(model, job);
  for (int64_t record = 4; record >= 0; --record) {
    GenerationJob one = job;
    one.prompts = {five_prompts()[static_cast<size_t>(record)]};
    one.first_record = record;
    const auto alone = generate(model, one);
    for (size_t sample = 0; sample < 2; ++sample) {
      const auto& expected = reference[static_cast<size_t>(record) * 2 + sample];
      CHECK(alone[sample].ids == expected.ids);
      CHECK(alone[sample].prompt == 0);
    }
  }
  GenerationJob more = job, other_seed = job, other_purpose = job;
  more.samples = 3;  // the first samples do not depend on their number
  CHECK(generate(model, more)[4].ids == reference[3].ids);
  other_seed.seed = 5;
  CHECK(generate(model, other_seed)[0].ids != reference[0].ids);
  other_purpose.purpose = "other";
  CHECK(generate(model, other_purpose)[0].ids != reference[0].ids);
}

TEST_CASE("generate: plain operators give the same answers", "[policy]") {
  auto shape = keel::test::lively_config();
  shape.num_key_value_heads = GENERATE(1, 2, 4);
  shape.tie_word_embeddings = shape.num_key_value_heads == 2;
  const Llama model = keel::test::lively_llama(shape);
  for (const SamplingConfig& sampling : {SamplingConfig{.max_new_tokens = 20},
                                         {.temperature = .7, .top_p = .8, .max_new_tokens = 20},
                                         {.temperature = 1.3, .top_k = 4, .max_new_tokens = 20},
                                         {.temperature = 0, .max_new_tokens = 20},
                                         {.temperature = .9, .top_p = .9, .top_k = 6, .max_new_tokens = 20}}) {
    const GenerationJob job{
        .prompts = keel::test::some_rows({3, 1, 17, 33, 5}), .samples = 4, .sampling = sampling, .stop_ids = {5}, .seed = 8};
    const auto packed = generate(model, job);
    auto plain = packed;
    for (Sample& answer : plain) {
      answer.ids.clear();
      answer.logprobs.clear();
      answer.finish = FinishReason::length;
    }
    generate_plainly(model, job, plain);
    for (size_t i = 0; i < plain.size(); ++i) {
      CHECK(packed[i].ids == plain[i].ids);
      CHECK(packed[i].finish == plain[i].finish);
      CHECK_CLOSE(floats(packed[i].logprobs), floats(plain[i].logprobs), 1e-5);
    }
  }
}

TEST_CASE("generate: greedy decoding with a cache is the argmax loop without one", "[policy]") {
  auto shape = keel::test::lively_config();
  shape.num_key_value_heads = GENERATE(1, 2, 4);
  const Llama model = keel::test::lively_llama(shape);
  const auto answers = generate(model, {.prompts = five_prompts(), .sampling = {.temperature = 0, .max_new_tokens = 20}});
  for (size_t i = 0; i < answers.size(); ++i)
    CHECK(answers[i].ids == argmax_loop(model, five_prompts()[i], 20));
}

TEST_CASE("generate: recorded log-probs are to the bit those of the sequence at the sampling temperature, before top-p and top-k",
          "[policy]") {
  const Llama model = keel::test::lively_llama();
  for (const double temperature : {0., .7, 1., 1.3}) {
    for (const bool cut : {false, true}) {
      const SamplingConfig config{.temperature = temperature, .top_p = cut ? .6 : 1, .top_k = cut ? 5 : 0, .max_new_tokens = 10};
      for (const auto& answer :
           generate(model, {.prompts = five_prompts(), .samples = 2, .sampling = config, .stop_ids = {5}, .seed = 1, .batch_rows = 7})) {
        const Ids prompt = five_prompts()[static_cast<size_t>(answer.prompt)];
        const auto all = sequence_logprobs(model, {followed_by(prompt, answer.ids)}, temperature == 0 ? 1 : temperature)[0];
        REQUIRE(answer.logprobs.size() == answer.ids.size());
        CHECK(answer.logprobs == std::vector<float>(all.begin() + std::ssize(prompt) - 1, all.end()));
      }
    }
  }
}

TEST_CASE("generate: a stop id ends its answer, is kept, and leaves the other answers as they were", "[policy]") {
  const Llama model = keel::test::lively_llama();
  GenerationJob job{.prompts = five_prompts(), .samples = 4, .sampling = {.max_new_tokens = 25}, .batch_rows = 20};
  const auto whole = generate(model, job);
  const std::vector<int64_t> stops = {2, 7};
  job.stop_ids = stops;
  const auto stopped = generate(model, job);
  size_t ended = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    CHECK(whole[i].ids.size() == 25);
    CHECK(whole[i].finish == FinishReason::length);
    const auto first = std::find_first_of(whole[i].ids.begin(), whole[i].ids.end(), stops.begin(), stops.end());
    const bool found = first != whole[i].ids.end();
    ended += found ? 1 : 0;
    const Ids expected(whole[i].ids.begin(), found ? first + 1 : first);
    CHECK(stopped[i].ids == expected);
    CHECK(stopped[i].finish == (found ? FinishReason::stop : FinishReason::length));
    const auto count = std::ssize(expected);
    CHECK_CLOSE(floats(stopped[i].logprobs), floats({whole[i].logprobs.begin(), whole[i].logprobs.begin() + count}), 1e-5);
  }
  CHECK(ended >= 8);  // rows left the batch more than once
  CHECK(ended < 20);
}

TEST_CASE("generate: an answer ends at the limit of its prompt, and is as far as that what it is without", "[policy]") {
  const Llama model = keel::test::lively_llama();
  GenerationJob job{.prompts = five_prompts(), .samples = 2, .sampling = {.max_new_tokens = 9}, .stop_ids = {}, .seed = 4};
  const auto whole = generate(model, job);
  job.limits = {3, 1, 20, 9, 5};
  const auto found = generate(model, job);
  for (size_t i = 0; i < found.size(); ++i) {
    const int64_t length = std::min<int64_t>(9, job.limits[i / 2]);
    CHECK(found[i].ids == Ids(whole[i].ids.begin(), whole[i].ids.begin() + length));
    CHECK(found[i].finish == FinishReason::length);
  }
}

TEST_CASE("generate: a stop id at the last place that is left counts as a stop", "[policy]") {
  const Llama model = keel::test::lively_llama();
  GenerationJob job{.prompts = {{1, 2, 3}}, .sampling = {.temperature = 0, .max_new_tokens = 4}};
  const Ids answer = generate(model, job)[0].ids;
  REQUIRE(std::find(answer.begin(), answer.end() - 1, answer.back()) == answer.end() - 1);  // its last id is new
  job.stop_ids = {answer.back()};
  CHECK(generate(model, job)[0].finish == FinishReason::stop);
}

TEST_CASE("generate: answers end with the context", "[policy]") {
  const Llama model = keel::test::lively_llama();
  const auto answers = generate(model, {.prompts = {keel::test::some_ids(0, 38), keel::test::some_ids(1, 3), keel::test::some_ids(2, 39)},
                                        .sampling = {.max_new_tokens = 5}});
  CHECK(answers[0].ids.size() == 2);
  CHECK(answers[1].ids.size() == 5);
  CHECK(answers[2].ids.size() == 1);
  CHECK(answers[0].finish == FinishReason::length);
}

TEST_CASE("generate: prompts that fill the context, empty ones and unknown ids are refused", "[policy]") {
  const Llama model = keel::test::lively_llama();
  const auto one = [&](const Ids& prompt) { return generate(model, {.prompts = {{1}, prompt}, .sampling = {.max_new_tokens = 1}}); };
  CHECK_THROWS_WITH(one(keel::test::some_ids(0, 40)), ContainsSubstring("prompt 1 of 40 tokens fills the model's context of 40"));
  CHECK_THROWS_WITH(one(keel::test::some_ids(0, 41)), ContainsSubstring("longer than the model's context"));
  CHECK_THROWS_WITH(one({}), ContainsSubstring("no tokens"));
  CHECK_THROWS_WITH(one({3, 23}), ContainsSubstring("id 23 lies outside the vocabulary"));
  CHECK_THROWS_WITH(one({-1}), ContainsSubstring("id -1"));
}

TEST_CASE("generate: no prompts or no samples give no answers", "[policy]") {
  const Llama model = keel::test::lively_llama();
  CHECK(generate(model, {.samples = 3}).empty());
  CHECK(generate(model, {.prompts = five_prompts(), .samples = 0}).empty());
}

TEST_CASE("generate: progress is told as answers finish, and an interrupt stops the next token", "[policy]") {
  const Llama model = keel::test::lively_llama();
  std::vector<int64_t> told;
  GenerationJob job{.prompts = five_prompts(), .samples = 2, .sampling = {.max_new_tokens = 2}, .batch_rows = 4};
  job.done = [&](int64_t finished) { told.push_back(finished); };
  generate(model, job);
  CHECK(told == std::vector<int64_t>{4, 8, 10});
  keel::core::request_interrupt();
  CHECK_THROWS_AS(generate(model, job), keel::core::Interrupted);
  keel::core::clear_interrupt();
}

TEST_CASE("generate: frequencies of the first token match the model's probabilities", "[policy]") {
  const Llama model = keel::test::lively_llama();
  const Ids prompt = {4, 8, 15};
  for (const double temperature : {1., 1.3}) {
    const at::Tensor logits = logits_of(model, hidden_states(model, keel::runtime::pad_right({prompt})))[0][-1];
    const at::Tensor expected = (logits / temperature).softmax(-1).to(at::kDouble) * 2000;
    at::Tensor counts = at::zeros({23}, at::kDouble);
    for (const auto& answer : generate(
             model,
             {.prompts = {prompt}, .samples = 2000, .sampling = {.temperature = temperature, .max_new_tokens = 1}, .batch_rows = 1000}))
      counts[answer.ids[0]] += 1;
    CHECK(((counts - expected).square() / expected.clamp_min(5)).sum().item<double>() < 48.3);  // 22 degrees of freedom, 0.1 %
  }
}

TEST_CASE("generate: every token is reported once, in the order of its answer, and nothing else changes", "[policy]") {
  const Llama model = keel::test::lively_llama();
  GenerationJob job{
      .prompts = five_prompts(), .samples = 2, .sampling = {.max_new_tokens = 12}, .stop_ids = {5, 9}, .seed = 4, .batch_rows = 3};
  const auto reference = generate(model, job);
  std::mutex lock;
  std::vector<Ids> reported(10);
  job.sampled = [&](int64_t answer, int64_t id) {
    const std::lock_guard guard(lock);
    reported.at(static_cast<size_t>(answer)).push_back(id);
  };
  const auto answers = generate(model, job);
  for (size_t i = 0; i < answers.size(); ++i) {
    CHECK(reported[i] == answers[i].ids);
    CHECK(answers[i].ids == reference[i].ids);
    CHECK(answers[i].logprobs == reference[i].logprobs);
  }
}
