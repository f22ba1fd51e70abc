#include "policy/arithmetic.h"

#include <torch/csrc/autograd/autograd.h>

#include "core/error.h"
#include "policy/generate.h"
#include "policy/lively_model.h"
#include "policy/logprobs.h"
#include "policy/lora.h"

using keel::core::Ids;
using keel::policy::Llama;
using keel::policy::set_arithmetic;

namespace {

// Products in bf16 until the end of a test. False where this processor has none.
class Bf16 {
 public:
  Bf16() {
    try {
      set_arithmetic("bf16");
    } catch (const keel::core::UsageError&) {
      there_ = false;
    }
  }
  ~Bf16() { set_arithmetic("fp32"); }
  bool there() const { return there_; }

 private:
  bool there_ = true;
};

Llama lively_model() {
  auto shape = keel::test::lively_config();
  shape.vocab_size = 1500;  // two blocks of sums
  shape.max_position_embeddings = 160;
  return keel::test::lively_llama(shape);
}

at::Tensor target_logprobs(const Llama& model, const std::vector<Ids>& rows) {
  std::vector<keel::core::TokenSequence> sequences;
  for (const Ids& ids : rows)
    sequences.push_back({.ids = ids, .loss_mask = std::vector<bool>(ids.size(), true)});
  std::vector<std::vector<const keel::core::TokenSequence*>> packed(1);
  for (const auto& sequence : sequences)
    packed[0].push_back(&sequence);
  return keel::policy::masked_logprobs(model, keel::runtime::pack(packed));
}

}  // namespace

TEST_CASE("arithmetic: in bf16, too, generation's log-probs are to the bit the scorer's and the trainer's, in every company", "[policy]") {
  const Bf16 bf16;
  if (!bf16.there()) SKIP("this processor has no products in bf16");
  CHECK(keel::policy::arithmetic() == "bf16");
  const Llama base = lively_model();
  const Llama model =
      GENERATE(false, true) ? keel::policy::with_lora(base, {.rank = 3, .target_modules = {"q_proj", "down_proj"}}, 1, "test") : base;
  const keel::policy::GenerationJob job{
      .prompts = keel::test::some_rows({3, 40, 90}), .samples = 5, .sampling = {.max_new_tokens = 12}, .stop_ids = {}, .seed = 4};
  keel::policy::GenerationJob one_by_one = job;
  one_by_one.batch_rows = 1;
  const auto samples = keel::policy::generate(model, job), alone = keel::policy::generate(model, one_by_one);
  REQUIRE(samples.size() == 15);
  std::vector<Ids> rows;
  for (size_t i = 0; i < samples.size(); ++i) {
    CHECK((samples[i].ids == alone[i].ids && samples[i].logprobs == alone[i].logprobs));
    rows.push_back(keel::core::joined(job.prompts[static_cast<size_t>(samples[i].prompt)], samples[i].ids));
  }
  const auto scored = keel::policy::sequence_logprobs(model, rows);
  for (size_t i = 0; i < samples.size(); ++i)
    CHECK(std::vector<float>(scored[i].end() - std::ssize(samples[i].ids), scored[i].end()) == samples[i].logprobs);
  std::vector<float> joined;
  for (const auto& row : scored)
    joined.insert(joined.end(), row.begin(), row.end());
  at::set_num_threads(2);
  CHECK(target_logprobs(model, rows).equal(keel::test::floats(joined)));
  at::set_num_threads(1);
}

TEST_CASE("arithmetic: values and gradients in bf16 are those of fp32 up to its eight digits", "[policy]") {
  const Llama model = lively_model();
  const auto weights = keel::runtime::tensors_of(keel::policy::parameters(model));
  const auto rows = keel::test::some_rows({20, 90});
  const auto measured = [&] {
    for (const at::Tensor& weight : weights)
      weight.requires_grad_(true);
    const at::Tensor logprobs = target_logprobs(model, rows);
    auto all = torch::autograd::grad({logprobs.mean()}, weights);
    all.push_back(logprobs.detach());
    return all;
  };
  const auto exact = measured();
  const Bf16 bf16;
  if (!bf16.there()) SKIP("this processor has no products in bf16");
  const auto found = measured();
  for (size_t i = 0; i < exact.size(); ++i) {
    INFO(i);
    const double error = (found[i] - exact[i]).norm().item<double>() / exact[i].norm().item<double>();
    CHECK(error > 1e-4);
    CHECK(error < 0.1);
  }
}

TEST_CASE("arithmetic: other words are refused", "[policy]") {
  CHECK_THROWS_WITH(set_arithmetic("fp16"), Catch::Matchers::ContainsSubstring("--precision must be fp32 or bf16, got \"fp16\""));
  CHECK(keel::policy::arithmetic() == "fp32");
}
