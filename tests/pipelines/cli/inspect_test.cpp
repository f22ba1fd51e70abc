// keel inspect on every kind of path.
#include "core/gguf.h"
#include "core/jsonl.h"
#include "core/parquet.h"
#include "pipelines/cli/typed_process.h"
#include "support/gguf_builder.h"
#include "support/parquet_files.h"

using Catch::Matchers::ContainsSubstring;
using keel::test::Workplace;
using nlohmann::json;

namespace {

// By hand: an embedding of 320 x 8, twice (two norms of 8, q and o of 8 x 8, k and v of 4 x 8, three matrices of 12 x 8), a norm of 8.
constexpr int64_t kTinyParameters = 320 * 8 + 2 * (2 * 8 + 2 * 64 + 2 * 32 + 3 * 96) + 8;

void write_adapter(const Workplace& work) {
  std::filesystem::create_directories(work / "adapter");
  work.write(
      "adapter/adapter_config.json",
      R"({"peft_type":"LORA","r":2,"lora_alpha":4,"target_modules":["q_proj"],"task_type":"CAUSAL_LM","base_model_name_or_path":"org/base"})");
  const std::string zeros(2 * 8 * 4, '\0');
  keel::core::write_safetensors(
      work / "adapter/adapter_model.safetensors",
      {{.name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", .dtype = "F32", .shape = {2, 8}},
       {.name = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight", .dtype = "F32", .shape = {8, 2}}},
      [&](size_t) { return std::string_view(zeros); }, {});
}

}  // namespace

TEST_CASE("keel inspect: models, adapters, tokenizers", "[cli]") {
  const Workplace work;
  write_adapter(work);
  std::filesystem::copy(work / "model", work / "damaged", std::filesystem::copy_options::recursive);
  json config = keel::test::json_in(work, "damaged/config.json");
  config["num_hidden_layers"] = 3;
  work.write("damaged/config.json", config.dump());
  work.write("damaged/keel.json", R"({"keel":"0.1.0","chat_format":"llama2","digest":"00","lineage":{"stage":"sft","seed":7}})");
  std::filesystem::create_directories(work / "tokenizer");
  std::filesystem::copy_file(work / "model/tokenizer.model", work / "tokenizer/tokenizer.model");
  work.write("tokenizer/chat_template.jinja",
             "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
             "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}");
  auto twice = keel::test::tiny_weights();
  twice.push_back(twice[0]);
  twice.back().name = "lm_head.weight";  // the same as the embedding, as config.json says
  keel::test::write_tiny_folder(work / "twice", twice, {{"architectures", {"LlamaForCausalLM"}}}, work / "model/tokenizer.model");
  const auto all = work.run_all({{"inspect", "model", "--json"},
                                 {"inspect", "model"},
                                 {"inspect", "reward", "--json"},
                                 {"inspect", "tiny.bin", "--json"},
                                 {"inspect", "adapter", "--json"},
                                 {"inspect", "adapter"},
                                 {"inspect", "damaged"},
                                 {"inspect", "tokenizer", "--json"},
                                 {"inspect", "tokenizer.model", "--json"},
                                 {"inspect", "twice", "--json"}});
  for (const auto& outcome : all) {
    INFO(outcome.err);
    REQUIRE(outcome.code == 0);
  }
  const json model = all[0].rows().at(0);
  CHECK(model["kind"] == "language model");
  CHECK(model["parameters"] == kTinyParameters);
  CHECK(model["dtypes"] == json{{"F32", kTinyParameters}});
  CHECK(model["bytes"] == std::filesystem::file_size(work / "model/model.safetensors"));
  CHECK(model["shape"]["num_hidden_layers"] == 2);
  CHECK(model["shape"]["max_position_embeddings"] == 96);
  CHECK(model["tokenizer"]["kind"] == "SentencePiece (tokenizer.model)");
  CHECK(model["tokenizer"]["adds_bos"] == true);
  CHECK(model["tokenizer"]["bos"] == json{{"id", 1}, {"piece", "<s>"}});
  CHECK(model["chat_format"]["name"] == "llama2");
  CHECK(model["chat_format"]["from"] == "keel.json");
  CHECK(model["chat_format"]["stops"] == json{{{"id", 2}, {"piece", "</s>"}}});
  CHECK(model["problems"].empty());
  CHECK(model["digest"].get<std::string>().size() == 64);
  CHECK_THAT(all[1].out, ContainsSubstring("model: language model\n") &&
                             ContainsSubstring(
                                 "2 layers, width 8, feed-forward 12, 2 heads of 4 (1 for keys and values), vocabulary 320, context 96") &&
                             ContainsSubstring("3,560 (F32 3,560), the head is the embedding") &&
                             ContainsSubstring("llama2, from keel.json") && ContainsSubstring("at </s> (2)"));
  CHECK(all[2].rows()[0]["kind"] == "reward model");
  CHECK(all[2].rows()[0]["parameters"] == kTinyParameters + 8);
  CHECK(all[3].rows()[0]["parameters"] == kTinyParameters);
  CHECK(all[3].rows()[0]["kind"] == "llama2.c file of a language model, without a tokenizer");
  CHECK(all[4].rows()[0]["parameters"] == 32);
  CHECK_THAT(all[5].out, ContainsSubstring("rank 2, alpha 4, on q_proj") && ContainsSubstring("org/base (CAUSAL_LM)"));
  CHECK_THAT(all[6].out, ContainsSubstring("model.layers.2.input_layernorm.weight is missing") &&
                             ContainsSubstring(R"({"seed":7,"stage":"sft"})") &&
                             ContainsSubstring("model.safetensors is not the file that keel.json was written for"));
  const json tokenizer = all[7].rows().at(0);
  CHECK(tokenizer["kind"] == "tokenizer");
  CHECK_THAT(tokenizer["chat_format"]["from"].get<std::string>(), ContainsSubstring("the chat template, tokenizer/chat_template.jinja"));
  CHECK_THAT(tokenizer["chat_format"]["problem"].get<std::string>(), ContainsSubstring("<|im_start|>"));  // which this vocabulary lacks
  CHECK(all[8].rows()[0]["tokenizer"]["ids"] == 320);
  CHECK(all[9].rows()[0]["parameters"] == kTinyParameters);
  CHECK(all[9].rows()[0]["problems"].empty());
}

TEST_CASE("keel inspect: a GGUF file tells its shape, its types and its tokenizer", "[cli]") {
  namespace gguf = keel::test::gguf;
  const Workplace work;
  gguf::Tensors tensors;
  tensors.add("token_embd.weight", {4, 2}, std::string(32, '\0'));
  work.write(
      "tiny.gguf",
      gguf::file(
          {gguf::pair("general.architecture", gguf::text("llama")), gguf::pair("llama.embedding_length", gguf::number(2)),
           gguf::pair("llama.feed_forward_length", gguf::number(3)), gguf::pair("llama.block_count", gguf::number(1)),
           gguf::pair("llama.attention.head_count", gguf::number(1)), gguf::pair("llama.context_length", gguf::number(64)),
           gguf::pair("llama.attention.layer_norm_rms_epsilon", gguf::real(1e-5)), gguf::pair("tokenizer.ggml.model", gguf::text("llama")),
           gguf::pair("tokenizer.ggml.tokens", gguf::texts({"<unk>", "<s>", "</s>", "a"})),
           gguf::pair("tokenizer.ggml.scores", gguf::reals({0, 0, 0, -1})),
           gguf::pair("tokenizer.ggml.token_type", gguf::integers({2, 3, 3, 1})),
           gguf::pair("tokenizer.ggml.bos_token_id", gguf::number(1)), gguf::pair("tokenizer.ggml.eos_token_id", gguf::number(2))},
          tensors.infos, tensors.data));
  const auto outcome = work.run({"inspect", "tiny.gguf", "--json"});
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  const json facts = outcome.rows().at(0);
  CHECK(facts["kind"] == "GGUF file of a language model");
  CHECK(facts["parameters"] == 8);
  CHECK(facts["dtypes"] == json{{"F32", 8}});
  CHECK(facts["shape"]["max_position_embeddings"] == 64);
  CHECK(facts["tokenizer"]["kind"] == "SentencePiece (GGUF)");
  CHECK(facts["chat_format"]["from"] == "there is no keel.json and no chat template");
}

TEST_CASE("keel inspect: a data file's rows are counted, measured and shown, and nothing in them steers the terminal", "[cli]") {
  const Workplace work;
  std::vector<json> rows = {{{"prompt", "who?"},
                             {"chosen", "the baker"},
                             {"rejected", "no\x1b[2J"},
                             {"source", "town"},
                             {"batch", 1},
                             {"strength", 3},
                             {"hazard", true}},
                            {{"prompt", "who?"}, {"chosen", "a"}, {"rejected", " a"}, {"source", "town"}},
                            {{"prompt", "who?"}, {"chosen", std::string(300, 'b')}, {"rejected", "c"}, {"source", "sea"}}};
  keel::core::write_jsonl(work / "pairs.jsonl.gz", rows);
  keel::core::write_jsonl(work / "pairs.jsonl.zst", rows);
  work.write("chats.jsonl", R"({"messages":[{"role":"user","content":"who?"},{"role":"assistant","content":"he"}]}
{"messages":[{"role":"user","content":"[INST]"},{"role":"assistant","content":"he"}]}
)");
  work.write("ratings.csv", "id,model,person,rating\n1,ppo,ann,5\n1,ppo,bob,\n");
  const auto all = work.run_all({{"inspect", "pairs.jsonl.gz", "--json"},
                                 {"inspect", "pairs.jsonl.zst"},
                                 {"inspect", "pairs.jsonl.gz", "--model", "model", "--json", "--rows", "1", "--ids"},
                                 {"inspect", "chats.jsonl", "--model", "model"},
                                 {"inspect", "chats.jsonl", "--rows", "0"},
                                 {"inspect", "ratings.csv", "--json"}});
  for (const auto& outcome : all) {
    INFO(outcome.err);
    REQUIRE(outcome.code == 0);
    CHECK(outcome.out.find('\x1b') == std::string::npos);
  }
  const json pairs = all[0].rows().at(0);
  CHECK(pairs["rows"] == 3);
  CHECK(pairs["forms"] == json{{"preference pair", 3}});
  CHECK(pairs["dropped"] == json{{"identical_answers", 1}});
  CHECK(pairs["characters"] == json{{"p50", 19}, {"p90", 305}, {"p99", 305}, {"max", 305}});  // 4 + 9 + 6 and 4 + 300 + 1
  CHECK(pairs["labels"]["source"] == json{{"sea", 1}, {"town", 2}});
  CHECK(pairs["labels"]["batch"] == json{{"1", 1}});
  CHECK(pairs["labels"]["strength"] == json{{"3", 1}});
  CHECK(pairs["hazard"] == 1);
  CHECK_THAT(all[1].out, ContainsSubstring("rejected: no\\u001b[2J") && ContainsSubstring("(left out: identical_answers)") &&
                             ContainsSubstring("town 2, sea 1"));
  const json rendered = all[2].rows().at(0);
  CHECK(rendered["shown"].size() == 1);
  const json& chosen = rendered["shown"][0]["rendered"][0];
  CHECK(chosen["runs"] == json{{{"text", "<s>"}, {"special", true}, {"trained", false}},
                               {{"text", "[INST] who? [/INST]"}, {"special", false}, {"trained", false}},
                               {{"text", " the baker "}, {"special", false}, {"trained", true}},
                               {{"text", "</s>"}, {"special", true}, {"trained", true}}});
  CHECK(chosen["tokens"] == chosen["ids"].size());
  CHECK(rendered["tokens"]["over_context"] == 1);
  CHECK(rendered["tokens"]["context"] == 96);
  CHECK_THAT(all[3].out, ContainsSubstring("    <s>[INST] who? [/INST][[ he </s>]]\n") &&
                             ContainsSubstring("1 rows; line 2: the user turn holds the llama2 tag") && ContainsSubstring("[[ and ]]"));
  CHECK_THAT(all[4].out, !ContainsSubstring("line 1"));
  CHECK(all[5].rows()[0]["forms"] == json{{"rating", 2}});
}

TEST_CASE("keel inspect: a Parquet file is data where keel was built with Arrow, and is called by its name elsewhere", "[cli]") {
  const Workplace work;
  const std::string bytes = keel::test::parquet_file("pairs, snappy").bytes;
  work.write("train.parquet", bytes);
  work.write("cut.parquet", bytes.substr(0, bytes.size() / 2));
  const auto all = work.run_all({{"inspect", "train.parquet", "--json"}, {"inspect", "cut.parquet"}});
  INFO(all[0].err);
  if (!keel::core::reads_parquet()) {
    CHECK(all[0].code == 2);
    CHECK_THAT(all[0].err, ContainsSubstring("train.parquet") && ContainsSubstring("a Parquet table") && ContainsSubstring("make parquet"));
    return;
  }
  REQUIRE(all[0].code == 0);
  const json facts = all[0].rows().at(0);
  CHECK(facts["rows"] == 5);
  CHECK(facts["forms"] == json{{"preference pair", 5}});
  CHECK(facts["shown"][1]["line"] == 2);
  CHECK(all[1].code == 3);
  CHECK_THAT(all[1].err,
             ContainsSubstring("cut.parquet: this Parquet table cannot be read") && ContainsSubstring("fetch or copy it again"));
}

TEST_CASE("keel inspect: on a terminal what is trained on is green, unless NO_COLOR is set", "[cli]") {
  const Workplace work;
  work.write("chats.jsonl", R"({"prompt":"who?","completion":"he\u001b[5m"})");
  const std::vector<std::string> command = {"inspect", "chats.jsonl", "--model", "model"};
  const auto coloured = keel::test::on_terminal(work, command, false), plain = keel::test::on_terminal(work, command, true);
  if (!coloured || !plain) SKIP("no pseudo-terminals here");
  CHECK_THAT(*coloured, ContainsSubstring("\x1b[2m<s>\x1b[0m[INST] who? [/INST]\x1b[32m he") && !ContainsSubstring("[[ he") &&
                            !ContainsSubstring("\x1b[5m"));
  CHECK_THAT(*plain, ContainsSubstring("<s>[INST] who? [/INST][[ he") && !ContainsSubstring("\x1b"));
}

TEST_CASE("keel inspect: what a path is not is said with the remedy", "[cli]") {
  const Workplace work;
  work.write("mixed.jsonl", "{\"text\":\"a\"}\n{\"conversation_tree\":1}\n");
  work.write("list.json", R"([{"text":"a"}, 7])");
  work.write("empty.jsonl", "");
  std::filesystem::create_directories(work / "nothing");
  std::filesystem::create_directories(work / "data");
  work.write("data/a.jsonl", "{\"text\":\"a\"}\n");
  work.write("own.json", "// a recipe\n{\"name\": \"own\", \"data\": {\"source\": \"files\"}}\n");
  std::filesystem::create_directories(work / "torch");
  work.write("torch/pytorch_model.bin", "PK\x03\x04");
  const auto all = work.run_all({{"inspect", "mixed.jsonl"},
                                 {"inspect", "list.json"},
                                 {"inspect", "empty.jsonl"},
                                 {"inspect", "nothing"},
                                 {"inspect", "data"},
                                 {"inspect", "torch"},
                                 {"inspect", "model/model.safetensors"},
                                 {"inspect", "missing"},
                                 {"inspect", "model", "--model", "model"},
                                 {"inspect", "mixed.jsonl", "--ids"},
                                 {"inspect", "data/a.jsonl", "--model", "tiny.bin"},
                                 {"inspect", "own.json"}});
  const std::vector<std::pair<int, const char*>> wanted = {
      {3, "1 of 2 rows cannot be read; line 2: the row is of no form that keel reads; it has: conversation_tree"},
      {3, "list.json:1: a JSON list must hold objects"},
      {3, "holds no row"},
      {2, "it is empty"},
      {2, "name one of what it holds: a.jsonl"},
      {2, "PyTorch weights"},
      {2, "name the folder"},
      {2, "missing does not exist"},
      {2, "--model is for data files"},
      {2, "--ids and --chat need --model"},
      {2, "tiny.bin holds no tokenizer"},
      {2, "own.json is a recipe: keel run own.json --out DIR --dry-run checks it"}};
  for (size_t i = 0; i < all.size(); ++i) {
    INFO(i << all[i].err);
    CHECK(all[i].code == wanted[i].first);
    CHECK(all[i].says(wanted[i].second));
  }
  CHECK_THAT(all[0].out, ContainsSubstring("document 1"));  // what can be read is shown
}
