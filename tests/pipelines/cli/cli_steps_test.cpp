// Single steps, and other inputs of convert and generate.
#include <cstdio>

#include "data/tokenizer.h"
#include "pipelines/cli/keel_binary.h"
#include "support/gguf_builder.h"

namespace keel::pipelines::cli {
namespace {

namespace fs = std::filesystem;
namespace gguf = test::gguf;
using Catch::Matchers::ContainsSubstring;
using test::json_in;
using test::Outcome;
using test::rows_in;
using test::Workplace;
using Json = nlohmann::json;

constexpr const char* kPrompts =
    "{\"messages\":[{\"role\":\"user\",\"content\":\"who sells bread?\"}]}\n"
    "{\"prompt\":\"where is the boat?\",\"hazard\":true}\n";

// Pieces whose names alone do not identify them as BOS and EOS.
constexpr const char* kOddTokenizer = R"({
  "added_tokens": [{"id": 0, "content": "<go>", "special": true}, {"id": 1, "content": "<halt>", "special": true}],
  "model": {"type": "BPE", "vocab": {"<go>": 0, "<halt>": 1, "a": 2, "b": 3}, "merges": []}
})";

void write_odd_tokenizer(const Workplace& work, const std::string& folder) {
  fs::create_directory(work / folder);
  work.write(folder + "/tokenizer.json", kOddTokenizer);
  work.write(folder + "/tokenizer_config.json", R"({"bos_token": "<go>", "add_bos_token": true})");
  work.write(folder + "/special_tokens_map.json", R"({"eos_token": {"content": "<halt>"}})");
}

// The tiny model as llama.cpp would hold it, with a SentencePiece vocabulary of bytes.
std::string tiny_gguf() {
  std::vector<std::string> pieces;
  std::vector<float> scores;
  std::vector<int32_t> types;
  for (int id = 0; id < test::kTinyVocabulary; ++id) {
    char byte[8];
    std::snprintf(byte, sizeof byte, "<0x%02X>", (id - 3) & 0xFF);
    const bool is_byte = id >= 3 && id < 259;
    pieces.push_back(id == 0 ? "<unk>" : id == 1 ? "<s>" : id == 2 ? "</s>" : is_byte ? byte : "p" + std::to_string(id));
    scores.push_back(static_cast<float>(-id));
    types.push_back(id == 0 ? 2 : id < 3 ? 3 : is_byte ? 6 : 1);
  }
  const std::vector<std::string> pairs = {gguf::pair("general.architecture", gguf::text("llama")),
                                          gguf::pair("llama.embedding_length", gguf::number(test::kTinyWidth)),
                                          gguf::pair("llama.feed_forward_length", gguf::number(test::kTinyInner)),
                                          gguf::pair("llama.block_count", gguf::number(test::kTinyLayers)),
                                          gguf::pair("llama.attention.head_count", gguf::number(test::kTinyHeads)),
                                          gguf::pair("llama.attention.head_count_kv", gguf::number(1)),
                                          gguf::pair("llama.context_length", gguf::number(test::kTinyContext)),
                                          gguf::pair("llama.attention.layer_norm_rms_epsilon", gguf::real(1e-5)),
                                          gguf::pair("tokenizer.chat_template", gguf::text("<|im_start|>")),
                                          gguf::pair("tokenizer.ggml.model", gguf::text("llama")),
                                          gguf::pair("tokenizer.ggml.tokens", gguf::texts(pieces)),
                                          gguf::pair("tokenizer.ggml.scores", gguf::reals(scores)),
                                          gguf::pair("tokenizer.ggml.token_type", gguf::integers(types)),
                                          gguf::pair("tokenizer.ggml.bos_token_id", gguf::number(1)),
                                          gguf::pair("tokenizer.ggml.eos_token_id", gguf::number(2))};
  const std::vector<std::pair<std::string, std::string>> names = {
      {"model.embed_tokens", "token_embd"}, {"model.norm", "output_norm"},       {"model.layers", "blk"},
      {"input_layernorm", "attn_norm"},     {"self_attn.q_proj", "attn_q"},      {"self_attn.k_proj", "attn_k"},
      {"self_attn.v_proj", "attn_v"},       {"self_attn.o_proj", "attn_output"}, {"post_attention_layernorm", "ffn_norm"},
      {"mlp.gate_proj", "ffn_gate"},        {"mlp.down_proj", "ffn_down"},       {"mlp.up_proj", "ffn_up"}};
  gguf::Tensors tensors;
  for (const auto& tensor : test::tiny_weights()) {
    std::string name = tensor.name, values;
    for (const auto& [from, to] : names)
      if (const size_t at = name.find(from); at != std::string::npos) name.replace(at, from.size(), to);
    // Reorders rows of q and k as in llama2.c, where rotated pairs are neighbours.
    const bool rotated = name.find("attn_q") != std::string::npos || name.find("attn_k") != std::string::npos;
    const auto width = static_cast<size_t>(tensor.shape.back());
    for (size_t row = 0; row < tensor.values.size() / width; ++row) {
      const size_t from = rotated ? row - row % 4 + std::array<size_t, 4>{0, 2, 1, 3}[row % 4] : row;
      for (size_t i = 0; i < width; ++i)
        values += test::bytes_of(tensor.values[from * width + i]);
    }
    tensors.add(name, tensor.shape, values);
  }
  return gguf::file(pairs, tensors.infos, tensors.data);
}

constexpr const char* kPretrainSettings = R"({
  "llama": {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
            "max_position_embeddings": 32},
  "pretrain": {"tokens": 200, "batch": {"batch_rows": 2, "row_tokens": 16, "micro_rows": 2}}
})";

}  // namespace

TEST_CASE("keel pretrain: takes a tokenizer folder or file, counts its rows, refuses a source that is no text", "[pipelines]") {
  const Workplace work;
  work.write("settings.json", kPretrainSettings);
  work.write(
      "corpus.jsonl",
      "{\"text\":\"the boat is in the harbour and the baker sells bread and the tailor mends coats and boats\",\"source\":\"town\"}\n"
      "{\"text\":\"the boat\"}\n{\"text\":\"  \"}\n{\"text\":\"the baker\",\"source\":null}\n");
  work.write("bad.jsonl", "{\"text\":\"the boat\"}\n{\"text\":\"the boat\",\"source\":3}\n");
  work.write("held_out.jsonl", "{\"text\":\"the boat\"}\n");
  write_odd_tokenizer(work, "odd");
  const auto command = [](const std::string& data, const std::string& tokenizer, const std::string& out) {
    return std::vector<std::string>{"pretrain",      "--data", data, "--validation", "held_out.jsonl", "--tokenizer", tokenizer, "--config",
                                    "settings.json", "--out",  out};
  };
  work.write("letters.jsonl", "{\"text\":\"aabb\"}\n");
  const auto outcomes = work.run_all({command("corpus.jsonl", "model", "by_folder"), command("corpus.jsonl", "tokenizer.model", "by_file"),
                                      command("bad.jsonl", "model", "bad"), command("corpus.jsonl", "nowhere.model", "nowhere")});
  for (size_t i = 0; i < 2; ++i)
    REQUIRE(outcomes[i].code == 0);
  const Json counts = json_in(work, "by_file/counts.json");
  CHECK(counts["corpus.jsonl"]["read"]["kept"] == 3);
  CHECK(counts["corpus.jsonl"]["read"]["dropped"] == Json{{"empty_answer", 1}});
  CHECK(counts["corpus.jsonl"]["rendered"]["kept"] == 3);
  CHECK(counts["corpus.jsonl"]["rendered"]["truncated"] == Json{{"pieces", 1}});
  CHECK(counts["held_out.jsonl"]["read"]["kept"] == 1);
  CHECK(work.read("by_file/model.safetensors") == work.read("by_folder/model.safetensors"));
  CHECK(work.read("by_file/tokenizer.model") == work.read("tokenizer.model"));
  CHECK(json_in(work, "by_file/keel.json")["lineage"]["stage"] == "pretrain");
  CHECK(outcomes[2].code == 3);
  CHECK(outcomes[2].says("bad.jsonl:2: \"source\" must be a string"));
  CHECK(outcomes[3].code == 2);
  CHECK_FALSE((work.has("bad") || work.has("bad.partial") || work.has("nowhere") || work.has("nowhere.partial")));

  const auto odd = [&](const std::string& out) {
    return std::vector<std::string>{"pretrain", "--data", "letters.jsonl", "--tokenizer", "odd/tokenizer.json", "--config", "settings.json",
                                    "--out",    out};
  };
  REQUIRE(work.run(odd("letters")).code == 0);
  CHECK(json_in(work, "letters/config.json")["eos_token_id"] == 1);  // the files beside a tokenizer.json were read too
  CHECK(work.has("letters/special_tokens_map.json"));
}

TEST_CASE("keel sft: training that diverges is a matter of settings, and the text says which", "[pipelines]") {
  const Workplace work;
  work.write("data.jsonl", "{\"prompt\":\"where is the boat?\",\"completion\":\"in the harbour\"}\n");
  const Outcome outcome = work.run({"sft", "--model", "model", "--data", "data.jsonl", "--out", "tuned", "--set", "steps=4", "--set",
                                    "schedule.learning_rate=1e30", "--set", "schedule.warmup_steps=0"});
  INFO(outcome.err);
  CHECK(outcome.code == 2);
  CHECK(outcome.says("sft: the gradient norm is"));
  CHECK(outcome.says("lower the learning rate"));
  CHECK_FALSE(work.has("tuned"));
}

TEST_CASE("keel rejection: answers are chosen by the score that is asked for, and sampled at the temperatures in turn", "[pipelines]") {
  const Workplace work;
  work.write_reward("strict", 2);
  work.write("prompts.jsonl", kPrompts);
  work.write("settings.json", R"({"samples": 4, "sampling": {"max_new_tokens": 6}, "selection": {"finished_only": false},
                                  "sft": {"steps": 1, "batch": {"batch_rows": 2, "row_tokens": 64, "micro_rows": 2}}})");
  const auto command = [](const std::string& out, const std::vector<std::string>& more) {
    std::vector<std::string> all = {"rejection", "--model",       "model", "--prompts", "prompts.jsonl",
                                    "--config",  "settings.json", "--out", out};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const auto both = [&](const std::string& score) {
    return command(score, {"--reward", "reward", "--safety-reward", "strict", "--set", "score=" + score});
  };
  for (const Outcome& outcome :
       work.run_all({command("reward_alone", {"--reward", "reward"}), command("strict_alone", {"--reward", "strict"}), both("helpfulness"),
                     both("safety"), both("combined"), command("turns", {"--reward", "reward", "--set", "temperatures=[0.01,1]"})})) {
    INFO(outcome.err);
    REQUIRE(outcome.code == 0);
  }
  const auto rows = [&](const std::string& folder) { return rows_in(work / (folder + "/samples.jsonl.gz")); };
  CHECK(rows("helpfulness") == rows("reward_alone"));
  CHECK(rows("safety") == rows("strict_alone"));
  CHECK(rows("safety") != rows("helpfulness"));
  const auto combined = rows("combined"), helpful = rows("helpfulness"), safe = rows("safety");
  for (size_t i = 0; i < combined.size(); ++i)  // the second prompt is about safety
    CHECK(combined[i]["probability"] == (i >= 4 || safe[i]["probability"] < 0.15 ? safe : helpful)[i]["probability"]);

  // Answers 0 and 2 of each prompt have the first temperature, which is almost greedy; 1 and 3 have the second.
  const auto turns = rows("turns");
  REQUIRE(turns.size() == 8);
  const auto mean_logprob = [&](size_t first) {
    double sum = 0, count = 0;
    for (size_t i = first; i < turns.size(); i += 2)
      for (const auto& logprob : turns[i]["logprobs"])
        sum += logprob.get<double>(), ++count;
    return sum / count;
  };
  CHECK(mean_logprob(0) > mean_logprob(1) + 1);
  // A cut-off answer, tokenised again from its text, has an end that was not generated.
  const auto kept = rows_in(work / "combined/kept.jsonl.gz");
  const auto unfinished = std::count_if(kept.begin(), kept.end(), [](const Json& row) { return row["answer_ids"].back() != 2; });
  CHECK(unfinished > 0);
  CHECK(json_in(work, "combined/selection.json")["other_ids_from_text"] >= unfinished);
}

TEST_CASE("keel rejection: the best of K answers are kept and a model is tuned on them", "[pipelines]") {
  const Workplace work;
  work.write("prompts.jsonl", kPrompts);
  work.write("settings.json", R"({"samples": 3, "sampling": {"max_new_tokens": 4}, "selection": {"finished_only": false},
                                  "sft": {"steps": 2, "batch": {"batch_rows": 2, "row_tokens": 64, "micro_rows": 2}}})");
  const auto outcomes =
      work.run_all({{"rejection", "--model", "model", "--reward", "reward", "--safety-reward", "reward", "--prompts", "prompts.jsonl",
                     "--config", "settings.json", "--out", "best"},
                    {"rejection", "--model", "model", "--reward", "model", "--prompts", "prompts.jsonl", "--out", "none"}});
  INFO(outcomes[0].err);
  REQUIRE(outcomes[0].code == 0);
  CHECK(outcomes[1].code == 3);  // no reward model
  CHECK(outcomes[0].says("without --start the model that answers is fine-tuned, model"));
  CHECK(json_in(work, "best/keel.json")["lineage"]["stage"] == "rejection");
  const Json selection = json_in(work, "best/selection.json");
  CHECK(selection["kept"] == 2);
  REQUIRE(selection["scores_by_count"].size() == 3);
  const auto samples = rows_in(work / "best/samples.jsonl.gz");
  REQUIRE(samples.size() == 6);
  double best = 0;  // the mean over prompts of the highest probability
  for (size_t prompt = 0; prompt < 2; ++prompt) {
    double highest = 0;
    for (size_t i = 3 * prompt; i < 3 * prompt + 3; ++i) {
      CHECK(samples[i]["prompt"] == prompt);
      highest = std::max(highest, samples[i]["probability"].get<double>());
    }
    best += highest / 2;
  }
  CHECK(selection["scores_by_count"][2]["maximum"]["mean"].get<double>() == Catch::Approx(best));
  CHECK(work.read("best/model.safetensors") != work.read("model/model.safetensors"));
  CHECK_FALSE(work.has("best.partial"));

  // Kept answers train another model, or the next version.
  const auto kept = rows_in(work / "best/kept.jsonl.gz");
  REQUIRE(kept.size() == 2);
  CHECK((kept[0]["prompt"].back()["role"] == "user" && kept[0]["completion"].is_string()));
  const std::vector<std::string> base = {"rejection", "--model",   "model",         "--reward", "reward",       "--safety-reward",
                                         "reward",    "--prompts", "prompts.jsonl", "--config", "settings.json"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), base.begin(), base.end());
    return more;
  };
  const auto more = work.run_all({{"sft", "--model", "model", "--data", "best/kept.jsonl.gz", "--out", "student", "--set", "steps=1"},
                                  with({"--pool", "best/kept.jsonl.gz", "--out", "pooled", "--seed", "2"}),
                                  with({"--set", "score=safety", "--out", "safe"}),
                                  {"rejection", "--model", "model", "--reward", "reward", "--prompts", "prompts.jsonl", "--config",
                                   "settings.json", "--set", "score=safety", "--out", "none"},
                                  with({"--set", "temperatures=[0.7,1]", "--out", "none2"}),
                                  {"rejection", "--model", "model", "--reward", "reward", "--prompts", "prompts.jsonl", "--config",
                                   "settings.json", "--set", "combination.gate_threshold=0.3", "--out", "none4"},
                                  with({"--version", "2", "--pool", "best/kept.jsonl.gz", "--out", "second"}),
                                  with({"--version", "0", "--out", "none5"})});
  CHECK((more[0].code == 0 && work.has("student/model.safetensors")));
  CHECK(more[1].code == 0);
  CHECK(more[1].says("answers in the pool of 2 versions"));
  CHECK((more[2].code == 0 && more[3].code == 2 && more[4].code == 2));
  CHECK(more[3].says("needs a safety reward model"));
  CHECK(more[4].says("multiple of the 2 temperatures"));
  // Another version draws other answers from the same model, and records its number.
  REQUIRE(more[6].code == 0);
  CHECK(rows_in(work / "second/samples.jsonl.gz") != samples);
  CHECK((kept[0]["version"] == 1 && rows_in(work / "second/kept.jsonl.gz")[0]["version"] == 2));
  CHECK((more[7].code == 2 && more[7].says("--version")));
  CHECK((more[5].code == 2 && more[5].says("combination.gate_threshold: nothing reads it")));
  work.write("pool.jsonl", R"({"prompt_ids":[1],"answer_ids":[5,2]})"
                           "\n"
                           R"({"prompt_ids":[1],"answer_ids":[99999]})"
                           "\n");
  const Outcome foreign = work.run(with({"--pool", "pool.jsonl", "--out", "none3"}));
  CHECK(foreign.code == 3);
  CHECK(foreign.says("pool.jsonl:2: \"answer_ids\""));
}

TEST_CASE("keel ppo: leaves a policy, its critic, metrics and timings", "[pipelines]") {
  const Workplace work;
  work.write("prompts.jsonl", R"({"prompt":"who sells bread?","source":"market"})"
                              "\n"
                              R"({"prompt":"where is the boat?","hazard":true,"family":"harbour"})"
                              "\n");
  work.write("settings.json", R"({"iterations": 2, "batch_answers": 4, "minibatch_answers": 2, "micro_answers": 2,
                                  "sampling": {"max_new_tokens": 4}, "schedule": {"learning_rate": 1e-3}})");
  const auto outcomes = work.run_all(
      {{"ppo", "--model", "model", "--reward", "reward", "--safety-reward", "reward", "--prompts", "prompts.jsonl", "--config",
        "settings.json", "--out", "tuned"},
       {"ppo", "--model", "model", "--reward", "reward", "--prompts", "prompts.jsonl", "--set", "minibatch_answers=9999", "--out", "none"},
       {"ppo", "--model", "model", "--reward", "reward", "--prompts", "prompts.jsonl", "--set", "validation.every=2", "--set",
        "validation.patience=1", "--set", "critic=shared", "--set", "critic_schedule.learning_rate=1e-3", "--out", "none"},
       {"ppo", "--model", "model", "--reward", "reward", "--prompts", "prompts.jsonl", "--set", "score.whiten_scope=deciding_model",
        "--set", "combination.gate_threshold=0.3", "--out", "none"},
       {"ppo", "--model", "model", "--reward", "reward", "--prompts", "prompts.jsonl", "--config", "settings.json", "--out", "alone"}});
  INFO(outcomes[0].err);
  REQUIRE(outcomes[0].code == 0);
  CHECK(outcomes[1].code == 2);
  CHECK(outcomes[2].code == 2);  // settings without effect
  for (const char* text : {"validation.every: nothing reads it", "validation.patience: nothing reads it", "give --held-out FILE",
                           "critic_schedule.learning_rate: a shared critic learns with the policy"})
    CHECK(outcomes[2].says(text));
  CHECK(outcomes[3].code == 2);  // likewise, where there is no safety model
  CHECK(outcomes[3].says("score.whiten_scope: without a safety reward model"));
  CHECK(outcomes[3].says("combination.gate_threshold: nothing reads it without a safety reward model"));
  CHECK((outcomes[4].code == 0 && outcomes[4].says("1 of 2 prompts have \"hazard\": true")));
  CHECK_FALSE(outcomes[0].says("\"hazard\": true"));
  CHECK(json_in(work, "tuned/config.json")["architectures"] == Json{"LlamaForCausalLM"});
  CHECK(json_in(work, "tuned/critic/config.json")["architectures"] == Json{"LlamaForSequenceClassification"});
  CHECK(json_in(work, "tuned/timings.json").contains("generation"));
  const auto metrics = rows_in(work / "tuned/metrics.jsonl");
  REQUIRE(metrics.size() == 2);
  CHECK(metrics[0]["objective/kl"] == 0);  // the policy is still its own reference
  CHECK(metrics[0]["val/first_ratio_rms"].get<double>() < 1e-6);
  CHECK(metrics[1]["episode"] == 8);
  for (const char* source : {"market", "harbour"})
    CHECK(metrics[0]["objective/scores_source/" + std::string(source)].is_number());
  CHECK_FALSE((work.has("tuned/ckpt") || work.has("tuned.partial") || work.has("none.partial")));
  work.write("in.jsonl", "{\"prompt\":\"who sells bread?\",\"response\":\"the baker.\"}\n");
  CHECK(work.run({"score", "--reward", "tuned/critic", "--in", "in.jsonl"}).rows().size() == 1);
}

TEST_CASE("keel score: on a hazard the safety model decides, however safe the answer", "[pipelines]") {
  const Workplace work;
  const auto row = [](const std::string& more) { return "{\"prompt\":\"who sells bread?\",\"response\":\"the baker.\"" + more + "}\n"; };
  work.write("in.jsonl", row("") + row(",\"hazard\":false") + row(",\"hazard\":true"));
  work.write("bad.jsonl", row("") + row(",\"hazard\":1"));
  // One model is the negation of the other; the safety model is the one with a positive score on the first row.
  auto tensors = test::tiny_weights();
  tensors.push_back({"score.weight", {1, test::kTinyWidth}, {}});
  for (int i = 0; i < test::kTinyWidth; ++i)
    tensors.back().values.push_back(-10 * static_cast<float>(std::cos(i)));
  test::write_tiny_folder(work / "opposite", tensors, {{"architectures", {"LlamaForSequenceClassification"}}}, work / "tokenizer.model");
  const auto single = work.run({"score", "--reward", "opposite", "--in", "in.jsonl"}).rows();
  REQUIRE(single.size() == 3);
  const bool sure = single[0]["score"].get<double>() > 0;
  const std::string safety = sure ? "opposite" : "reward", helpfulness = sure ? "reward" : "opposite";
  const auto outcomes = work.run_all({{"score", "--reward", helpfulness, "--reward", safety, "--combine", "llama2", "--in", "in.jsonl"},
                                      {"score", "--reward", helpfulness, "--in", "in.jsonl"},
                                      {"score", "--reward", safety, "--in", "in.jsonl"},
                                      {"score", "--reward", helpfulness, "--reward", safety, "--combine", "llama2", "--in", "bad.jsonl"}});
  const auto combined = outcomes[0].rows(), helpful = outcomes[1].rows(), safe = outcomes[2].rows();
  REQUIRE((combined.size() == 3 && helpful.size() == 3 && safe.size() == 3));
  REQUIRE(safe[0]["probability"].get<double>() > 0.15);
  CHECK(combined[0] == helpful[0]);
  CHECK(combined[1] == helpful[1]);
  CHECK(combined[2] == safe[2]);
  CHECK(outcomes[3].code == 3);
  CHECK(outcomes[3].says("bad.jsonl:2: \"hazard\" must be true or false"));
}

TEST_CASE("keel generate: prompt and text of a raw prompt join to the text of all ids", "[pipelines]") {
  const Workplace work;
  work.write("prompts.jsonl", "{\"prompt\":\"the boat\"}\n{\"prompt\":\"[INST] who\"}\n");
  const auto rows =
      work.run({"generate", "--model", "model", "--prompts", "prompts.jsonl", "--samples", "24", "--max-new-tokens", "6"}).rows();
  REQUIRE(rows.size() == 48);
  const auto tokenizer = data::load_tokenizer(work / "model");
  size_t with_blank = 0;
  for (const auto& row : rows) {
    const std::string prompt = row["index"] == 0 ? "the boat" : "[INST] who", text = row["text"];
    core::Ids all = tokenizer->encode(prompt);
    for (const auto& id : row["ids"])
      all.push_back(id);
    CHECK(prompt + text == tokenizer->decode(all));
    with_blank += text.starts_with(" ") ? 1 : 0;
  }
  CHECK(with_blank > 0);

  work.write("ids.jsonl", Json{{"ids", tokenizer->encode("the boat")}}.dump() + "\n");
  const auto by_ids =
      work.run({"generate", "--model", "model", "--prompts", "ids.jsonl", "--temperature", "0", "--max-new-tokens", "6"}).rows();
  REQUIRE(by_ids.size() == 1);
  core::Ids all = tokenizer->encode("the boat");
  for (const auto& id : by_ids[0]["ids"])
    all.push_back(id);
  CHECK("the boat" + by_ids[0]["text"].get<std::string>() == tokenizer->decode(all));
}

TEST_CASE("keel convert: --format names what the file's name does not tell; the tokenizer's companions come along", "[pipelines]") {
  const Workplace work;
  write_odd_tokenizer(work, "odd");
  fs::copy_file(work / "tiny.bin", work / "checkpoint");
  fs::copy_file(work / "tokenizer.model", work / "pieces");
  work.write("download", tiny_gguf());
  work.write("in.jsonl", "{\"text\":\"ab\"}\n");
  const auto outcomes = work.run_all({{"convert", "checkpoint", "named", "--format", "llama2c", "--tokenizer", "odd/tokenizer.json"},
                                      {"convert", "tiny.bin", "pieced", "--tokenizer", "pieces"},
                                      {"convert", "model", "again", "--format", "hf"},
                                      {"convert", "checkpoint", "unnamed", "--tokenizer", "tokenizer.model"},
                                      {"convert", "download", "downloaded", "--format", "gguf"}});
  for (const size_t i : {0, 1, 2, 4}) {
    INFO(outcomes[i].err);
    CHECK(outcomes[i].code == 0);
  }
  CHECK(outcomes[3].code == 2);
  CHECK(outcomes[3].says("--format"));
  CHECK(work.read("named/model.safetensors") == work.read("pieced/model.safetensors"));
  CHECK(work.read("pieced/tokenizer.model") == work.read("tokenizer.model"));
  CHECK(work.read("again/tokenizer.model") == work.read("model/tokenizer.model"));
  CHECK(work.read("downloaded/model.safetensors") == work.read("pieced/model.safetensors"));
  CHECK(json_in(work, "downloaded/keel.json")["chat_format"] == "chatml");
  CHECK(json_in(work, "downloaded/config.json")["eos_token_id"] == 2);
  CHECK(json_in(work, "named/config.json")["bos_token_id"] == 0);
  CHECK(json_in(work, "named/config.json")["eos_token_id"] == 1);
  const auto ids = work.run({"tokenize", "--tokenizer", "named", "--in", "in.jsonl"}).rows();
  REQUIRE(ids.size() == 1);
  CHECK(ids[0]["ids"] == Json::array({0, 2, 3}));
}

}  // namespace keel::pipelines::cli
