// Commands that use a reward model which keel serve holds.
#include <memory>

#include "pipelines/cli/serving.h"

namespace keel::pipelines::cli {

using test::Json;
using test::kRows;
using test::kTwo;
using test::Serving;
using test::with;
using test::Words;
using test::Workplace;

TEST_CASE("remote reward models: keel score --url, reward eval and rejection sampling give what the folder gives, and keys hold the digest",
          "[pipelines]") {
  const Workplace work;
  work.write_reward("other", 1);
  work.write("rows.jsonl", kRows);
  work.write("prompts.jsonl", R"({"prompt":"who sells bread?"}
{"prompt":"how many boats are in the harbour?","hazard":true}
)");
  const Words rejection = {"rejection",
                           "--model",
                           "model",
                           "--start",
                           "model",
                           "--prompts",
                           "prompts.jsonl",
                           "--set",
                           "samples=2",
                           "--set",
                           "sampling.max_new_tokens=4",
                           "--set",
                           "selection.finished_only=false",
                           "--set",
                           "sft.steps=1",
                           "--set",
                           "sft.batch.row_tokens=96",
                           "--set",
                           "sft.batch.batch_rows=2"};
  const auto local = work.run_all({{"score", "--reward", "reward", "--in", "rows.jsonl"},
                                   with(rejection, {"--reward", "reward", "--safety-reward", "other", "--out", "local"})});
  INFO(local[1].err);
  REQUIRE(local[1].code == 0);
  auto service = std::make_unique<Serving>(work, kTwo);
  const std::string rm = service->address() + "/rm/";
  const auto remote = work.run_all({{"score", "--url", rm + "helpfulness", "--in", "rows.jsonl"},
                                    with(rejection, {"--reward", rm + "helpfulness", "--safety-reward", rm + "safety", "--out", "remote"}),
                                    with(rejection, {"--reward", rm + "nobody", "--out", "x"}),
                                    with(rejection, {"--reward", rm + "safety", "--safety-reward", service->address(), "--out", "x"}),
                                    {"score", "--url", rm + "helpfulness", "--reward", "reward", "--in", "rows.jsonl"}});
  INFO(remote[0].err << remote[1].err);
  REQUIRE((remote[0].code == 0 && remote[1].code == 0));
  for (size_t i = 0; i < 4; ++i)
    CHECK(remote[0].rows().at(i)["score"].get<double>() == Catch::Approx(local[0].rows().at(i)["score"].get<double>()).margin(1e-6));
  work.write(
      "pairs.jsonl",
      R"({"chosen":[{"role":"user","content":"who sells bread?"},{"role":"assistant","content":"the baker."}],"rejected":[{"role":"user","content":"who sells bread?"},{"role":"assistant","content":"no."}]}
{"chosen":[{"role":"user","content":"how many boats?"},{"role":"assistant","content":"nine."}],"rejected":[{"role":"user","content":"how many boats?"},{"role":"assistant","content":"many boats are there."}]}
)");
  const auto pairs = work.run_all({{"reward", "eval", "--reward", "reward", "--data", "pairs.jsonl"},
                                   {"reward", "eval", "--reward", rm + "helpfulness", "--tokenizer", "model", "--data", "pairs.jsonl"},
                                   {"reward", "eval", "--reward", rm + "helpfulness", "--data", "pairs.jsonl"},
                                   {"reward", "eval", "--reward", "reward", "--tokenizer", "model", "--data", "pairs.jsonl"}});
  INFO(pairs[0].err << pairs[1].err);
  REQUIRE((pairs[0].code == 0 && pairs[1].code == 0));
  const Json of_folder = pairs[0].rows().at(0), of_service = pairs[1].rows().at(0);
  CHECK((of_service["reward"] == rm + "helpfulness" && of_service["accuracy"] == of_folder["accuracy"]));
  CHECK(of_service["counts"] == of_folder["counts"]);
  CHECK(of_service["mean_difference"].get<double>() == Catch::Approx(of_folder["mean_difference"].get<double>()).margin(1e-6));
  CHECK((pairs[2].says("--tokenizer DIR is needed") && pairs[3].says("read for nothing else")));
  CHECK(work.read("remote/model.safetensors") == work.read("local/model.safetensors"));
  const Json external = test::json_in(work, "remote/manifest.json")["material"]["external"],
             own = test::json_in(work, "local/manifest.json")["material"]["external"];
  CHECK(external == own);
  CHECK((remote[2].says("holds no reward model \"nobody\"") && remote[3].says("is a combination of models") &&
         remote[4].says("nothing reads it with --url")));
}

}  // namespace keel::pipelines::cli
