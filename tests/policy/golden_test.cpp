// Trained checkpoints of the development data: log-probs and greedy continuations against independent programs.
#include <nlohmann/json.hpp>

#include "policy/generate.h"
#include "policy/import.h"
#include "policy/lively_model.h"
#include "policy/model_directory.h"

using keel::core::Ids;
using keel::policy::Llama;
using keel::test::floats;
using nlohmann::json;

namespace {

json golden_json(const std::filesystem::path& path) {
  return json::parse(keel::test::read_text(path));
}

Ids greedy_ids(const Llama& model, const Ids& prompt, int64_t tokens) {
  at::set_num_threads(1);
  Ids ids = prompt;
  const auto answer = generate(model, {.prompts = {prompt}, .sampling = {.temperature = 0, .max_new_tokens = tokens}}).front().ids;
  ids.insert(ids.end(), answer.begin(), answer.end());
  return ids;
}

void check_logprobs(const Llama& model, const json& ids, const json& expected) {
  const auto logprobs = sequence_logprobs(model, {ids.get<Ids>()})[0];
  CHECK_CLOSE(floats(logprobs), at::tensor(expected.get<std::vector<double>>()), 1e-4);
}

}  // namespace

TEST_CASE("golden: stories260K through the llama2.c import", "[policy]") {
  const auto folder = keel::test::shared_data() / "tinyllama/stories260K";
  const json golden = golden_json(folder / "golden.json");
  const Llama model = keel::policy::import_llama2c(folder / "stories260K.bin");
  CHECK(keel::runtime::count_elements(parameters(model)) == golden["config"]["params_without_rope_tables"]);

  const json& greedy = golden["greedy_ids_from_bos"];
  CHECK(greedy_ids(model, {1}, 200) == greedy.get<Ids>());
  check_logprobs(model, greedy, golden["greedy_logprobs"]);
  check_logprobs(model, golden["scored_text"]["ids"], golden["scored_text"]["token_logprobs"]);
  const auto logprobs = sequence_logprobs(model, {greedy.get<Ids>()})[0];
  double sum = 0;
  for (const float one : logprobs)
    sum += one;
  CHECK(std::abs(sum - golden["greedy_sum_logprob"].get<double>()) < 1e-4);

  const at::Tensor hidden = hidden_states(model, keel::runtime::pad_right({golden["scored_text"]["ids"].get<Ids>()}));
  CHECK_CLOSE(logits_of(model, hidden)[0][-1], at::tensor(golden["scored_text"]["last_logits"].get<std::vector<double>>()), 1e-4);
}

TEST_CASE("golden: the recorded log-probs of a trained model's answers are those of its sequences", "[policy]") {
  const auto folder = keel::test::shared_data() / "tinyllama/stories260K";
  const Llama model = keel::policy::import_llama2c(folder / "stories260K.bin");
  at::set_num_threads(1);
  const std::vector<Ids> prompts = {{1}, {1, 403, 407}, {1, 403, 407, 261, 378}};
  for (const auto& answer :
       generate(model, {.prompts = prompts, .samples = 2, .sampling = {.temperature = .7, .max_new_tokens = 60}, .stop_ids = {1, 2}})) {
    Ids ids = prompts[static_cast<size_t>(answer.prompt)];
    const auto prompt = std::ssize(ids);
    ids.insert(ids.end(), answer.ids.begin(), answer.ids.end());
    const auto all = sequence_logprobs(model, {ids}, .7)[0];
    // Rounding of logits of 20 and more, divided by .7, adds up to 1.1e-5 on some machines.
    CHECK_CLOSE(floats(answer.logprobs), floats({all.begin() + prompt - 1, all.end()}), 3e-5);
  }
}

TEST_CASE("golden: story-hf, a Hugging Face folder, against transformers", "[policy]") {
  const Llama model = keel::policy::load_llama(keel::test::shared_data() / "tinyllama/story-hf");
  const json golden = golden_json(KEEL_SOURCE_DIR "/tests/policy/story_hf.json");  // tools/oracle/llama_reference.py
  check_logprobs(model, golden["ids"], golden["logprobs"]);
  check_logprobs(model, golden["greedy"], golden["greedy_logprobs"]);
  const Ids greedy = golden["greedy"].get<Ids>();
  CHECK(greedy_ids(model, golden["prompt"].get<Ids>(), 200) == greedy);
}
