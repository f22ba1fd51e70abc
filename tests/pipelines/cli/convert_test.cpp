// What keel convert keeps of a checkpoint: the floating type of its weights, its rope scaling; and Meta's own folders.
#include <bit>

#include "pipelines/cli/keel_binary.h"
#include "support/torch_builder.h"

namespace keel::pipelines::cli {
namespace {

using test::json_in;
using test::Outcome;
using test::Workplace;
using Json = nlohmann::json;

// fp32 numbers cut to bf16, whose bits are the upper half of theirs.
std::string bf16_bytes(const std::vector<float>& values) {
  std::string bytes;
  for (const float value : values) {
    const auto bits = static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
    bytes += {static_cast<char>(bits & 0xff), static_cast<char>(bits >> 8)};
  }
  return bytes;
}

// `model` of the workplace again as `name`, its weights as bf16; those whose name holds `whole` as fp32.
void write_bf16_model(const Workplace& work, const std::string& name, const std::string& whole = "nothing") {
  std::filesystem::copy(work / "model", work / name, std::filesystem::copy_options::recursive);
  std::vector<core::TensorEntry> entries;
  std::vector<std::string> data;
  for (const auto& tensor : test::tiny_weights()) {
    const bool keep = tensor.name.find(whole) != std::string::npos;
    entries.push_back({.name = tensor.name, .dtype = keep ? "F32" : "BF16", .shape = tensor.shape});
    data.push_back(keep ? std::string(reinterpret_cast<const char*>(tensor.values.data()), 4 * tensor.values.size())
                        : bf16_bytes(tensor.values));
  }
  core::write_safetensors(work / (name + "/model.safetensors"), entries, [&](size_t i) { return std::string_view(data[i]); }, {});
}

// The tiny model as Meta's folder `name`, in bf16, without a tokenizer.
void write_meta_folder(const Workplace& work, const std::string& name) {
  const std::map<std::string, std::string> parts = {{"input_layernorm", "attention_norm"},
                                                    {"self_attn.q_proj", "attention.wq"},
                                                    {"self_attn.k_proj", "attention.wk"},
                                                    {"self_attn.v_proj", "attention.wv"},
                                                    {"self_attn.o_proj", "attention.wo"},
                                                    {"mlp.gate_proj", "feed_forward.w1"},
                                                    {"post_attention_layernorm", "ffn_norm"},
                                                    {"mlp.down_proj", "feed_forward.w2"},
                                                    {"mlp.up_proj", "feed_forward.w3"},
                                                    {"model.embed_tokens", "tok_embeddings"},
                                                    {"model.norm", "norm"}};
  std::vector<test::torch_save::Tensor> tensors;
  for (const auto& tensor : test::tiny_weights()) {
    std::string part = tensor.name.substr(0, tensor.name.size() - std::string(".weight").size()), layer;
    if (part.starts_with("model.layers.")) {
      layer = part.substr(6, 9);  // "layers.0."
      part = part.substr(15);
    }
    std::vector<float> values = tensor.values;
    if (part.ends_with("q_proj") || part.ends_with("k_proj"))  // heads of 4 rows; pair i is rows 2i, 2i + 1 there and i, i + 2 here
      for (int64_t head = 0; head < tensor.shape[0]; head += 4)
        for (const auto& [to, from] : std::vector<std::pair<int64_t, int64_t>>{{0, 0}, {1, 2}, {2, 1}, {3, 3}})
          std::copy_n(tensor.values.begin() + (head + from) * test::kTinyWidth, test::kTinyWidth,
                      values.begin() + (head + to) * test::kTinyWidth);
    tensors.push_back(
        {.name = layer + parts.at(part) + ".weight", .type = "BFloat16Storage", .shape = tensor.shape, .bytes = bf16_bytes(values)});
  }
  std::filesystem::create_directory(work / name);
  work.write(name + "/consolidated.00.pth", test::torch_save::file_of(tensors));
  work.write(name + "/params.json", Json{{"dim", test::kTinyWidth},
                                         {"n_layers", test::kTinyLayers},
                                         {"n_heads", test::kTinyHeads},
                                         {"n_kv_heads", 1},
                                         {"multiple_of", test::kTinyInner},
                                         {"ffn_dim_multiplier", 0.5},
                                         {"norm_eps", 1e-5},
                                         {"vocab_size", -1},
                                         {"max_seq_len", test::kTinyContext}}
                                        .dump());
}

// The bytes of every weight, by name, and the one type of all.
struct Stored {
  std::string dtype;
  std::map<std::string, std::string> bytes;
  bool operator==(const Stored&) const = default;
};

Stored stored_in(const Workplace& work, const std::string& folder) {
  const core::SafetensorsFile file(work / (folder + "/model.safetensors"));
  Stored stored{.dtype = file.entries().front().dtype, .bytes = {}};
  for (const auto& entry : file.entries()) {
    if (entry.dtype != stored.dtype) stored.dtype = "several";
    stored.bytes[entry.name] = file.bytes(entry);
  }
  return stored;
}

}  // namespace

TEST_CASE("keel convert: bf16 weights stay the same bits, and --dtype asks for another type", "[pipelines]") {
  const Workplace work;
  write_bf16_model(work, "half");
  write_bf16_model(work, "mixed", "norm");
  auto large = test::tiny_weights();
  large[1].values[0] = 1e6F;
  test::write_tiny_folder(work / "large", large, {}, work / "tokenizer.model");
  work.write("in.jsonl", "{\"ids\":[1,300,301,2]}\n");
  const auto outcomes = work.run_all({{"convert", "half", "kept"},
                                      {"convert", "half", "wide", "--dtype", "float32"},
                                      {"convert", "half", "narrow", "--dtype", "float16"},
                                      {"convert", "mixed", "one", "--dtype", "keep"},
                                      {"convert", "model", "plain"},
                                      {"convert", "model", "rounded", "--dtype", "bfloat16"}});
  for (const Outcome& outcome : outcomes) {
    INFO(outcome.err);
    REQUIRE(outcome.code == 0);
  }
  const auto type_in = [&](const std::string& folder) {
    return stored_in(work, folder).dtype + " " + json_in(work, folder + "/config.json")["torch_dtype"].get<std::string>();
  };
  CHECK(type_in("kept") == "BF16 bfloat16");
  CHECK(type_in("wide") == "F32 float32");
  CHECK(type_in("narrow") == "F16 float16");
  CHECK(type_in("one") == "F32 float32");
  CHECK(type_in("plain") == "F32 float32");
  CHECK(type_in("rounded") == "BF16 bfloat16");
  CHECK(stored_in(work, "kept") == stored_in(work, "half"));
  CHECK(stored_in(work, "plain") == stored_in(work, "model"));
  CHECK(outcomes[0].says("parameters in bfloat16"));
  // fp32 holds the bf16 numbers exactly: their bits, then 16 zero bits.
  for (const auto& tensor : test::tiny_weights()) {
    std::string expected;
    for (size_t i = 0; i < tensor.values.size(); ++i)
      expected += std::string(2, '\0') + bf16_bytes(tensor.values).substr(2 * i, 2);
    CHECK(stored_in(work, "wide").bytes[tensor.name] == expected);
    if (tensor.name.find("norm") == std::string::npos) CHECK(stored_in(work, "one").bytes[tensor.name] == expected);
  }
  CHECK(stored_in(work, "one").bytes["model.norm.weight"] == stored_in(work, "model").bytes["model.norm.weight"]);
  const Json lineage = json_in(work, "rounded/keel.json")["lineage"];
  CHECK(lineage["dtype"] == "bfloat16");
  CHECK_FALSE(json_in(work, "kept/keel.json")["lineage"].contains("dtype"));

  // All commands compute in fp32, and training writes it.
  work.write("rows.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]}\n");
  const auto used = work.run_all({{"logprobs", "--model", "kept", "--in", "in.jsonl"},
                                  {"logprobs", "--model", "wide", "--in", "in.jsonl"},
                                  {"sft", "--model", "kept", "--data", "rows.jsonl", "--out", "tuned", "--set", "steps=1"},
                                  {"convert", "large", "refused", "--dtype", "float16"},
                                  {"convert", "model", "refused", "--dtype", "int8"},
                                  {"generate", "--model", "kept", "--prompts", "in.jsonl", "--max-new-tokens", "8"},
                                  {"generate", "--model", "wide", "--prompts", "in.jsonl", "--max-new-tokens", "8"}});
  REQUIRE(used[0].rows().size() == 1);
  CHECK(used[0].out == used[1].out);
  INFO(used[2].err);
  REQUIRE(used[2].code == 0);
  CHECK(type_in("tuned") == "F32 float32");
  CHECK(used[3].code == 3);
  CHECK(used[3].says("input_layernorm.weight holds numbers that float16 does not reach"));
  CHECK(used[4].code == 2);
  CHECK_FALSE(work.has("refused"));
  INFO(used[5].err);
  REQUIRE(used[5].rows().size() == 1);
  CHECK(used[5].out == used[6].out);
}

TEST_CASE("keel convert, sft and reward train: rope scaling stays with the model", "[pipelines]") {
  const Workplace work;
  Json config = json_in(work, "model/config.json");
  const Json scaling = {{"rope_type", "llama3"},
                        {"factor", 8.0},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", 32}};
  config["rope_parameters"] = scaling;
  config["rope_parameters"]["rope_theta"] = 500.0;
  std::filesystem::copy(work / "model", work / "scaled", std::filesystem::copy_options::recursive);
  work.write("scaled/config.json", config.dump());
  std::string pairs;
  for (int i = 0; i < 8; ++i)
    pairs += R"({"prompt":"who )" + std::to_string(i) + R"(?","chosen":"the baker","rejected":"no"})" + "\n";
  work.write("pairs.jsonl", pairs);
  work.write("rows.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]}\n");
  const auto outcomes = work.run_all({{"convert", "scaled", "converted"},
                                      {"sft", "--model", "scaled", "--data", "rows.jsonl", "--out", "tuned", "--set", "steps=1"},
                                      {"reward", "train", "--model", "scaled", "--data", "pairs.jsonl", "--held-out", "pairs.jsonl",
                                       "--out", "rewarding", "--set", "batch_pairs=8", "--set", "micro_pairs=8"}});
  for (const Outcome& outcome : outcomes) {
    INFO(outcome.err);
    REQUIRE(outcome.code == 0);
  }
  for (const char* folder : {"converted", "tuned", "rewarding"}) {
    const Json written = json_in(work, std::string(folder) + "/config.json");
    CHECK(written["rope_scaling"] == scaling);
    CHECK(written["rope_theta"] == 500);
  }
  work.write("in.jsonl", "{\"ids\":[1,300,301,2,1,300,301,2,1,300,301,2]}\n");
  const auto logprobs = work.run_all({{"logprobs", "--model", "model", "--in", "in.jsonl"},
                                      {"logprobs", "--model", "scaled", "--in", "in.jsonl"},
                                      {"logprobs", "--model", "converted", "--in", "in.jsonl"}});
  REQUIRE(logprobs[1].rows().size() == 1);
  CHECK(logprobs[1].out == logprobs[2].out);
  CHECK(logprobs[1].out != logprobs[0].out);
}

TEST_CASE("keel convert: Meta's folder becomes the same model as the Hugging Face folder of its weights", "[pipelines]") {
  const Workplace work;
  write_bf16_model(work, "half");
  std::filesystem::remove(work / "half/keel.json");
  write_meta_folder(work, "meta");
  write_meta_folder(work, "with_tokenizer");
  std::filesystem::copy_file(work / "tokenizer.model", work / "with_tokenizer/tokenizer.model");
  write_meta_folder(work, "llama3");
  work.write("llama3/tokenizer.model", "IQ== 0\nIg== 1\n");
  write_meta_folder(work, "hostile");
  namespace torch_save = test::torch_save;
  work.write(
      "hostile/consolidated.00.pth",
      torch_save::file(torch_save::pickle(torch_save::call(torch_save::global("os", "system"), {torch_save::text("touch ran")})), {}));
  work.write("rows.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]}\n");
  const auto outcomes =
      work.run_all({{"convert", "half", "expected"},
                    {"convert", "with_tokenizer", "found"},
                    {"convert", "meta", "named", "--tokenizer", "tokenizer.model", "--chat", "llama2", "--format", "meta"},
                    {"convert", "meta", "wide", "--tokenizer", "tokenizer.model", "--dtype", "float32"},
                    {"convert", "meta", "refused"},
                    {"convert", "llama3", "refused"},
                    {"convert", "meta/consolidated.00.pth", "refused", "--tokenizer", "tokenizer.model"},
                    {"sft", "--model", "with_tokenizer", "--data", "rows.jsonl", "--out", "refused"},
                    {"convert", "hostile", "refused", "--tokenizer", "tokenizer.model"}});
  for (size_t i = 0; i < 4; ++i) {
    INFO(outcomes[i].err);
    REQUIRE(outcomes[i].code == 0);
  }
  CHECK(stored_in(work, "found") == stored_in(work, "half"));
  CHECK(work.read("found/model.safetensors") == work.read("expected/model.safetensors"));
  CHECK(work.read("found/config.json") == work.read("expected/config.json"));
  CHECK(work.read("named/model.safetensors") == work.read("found/model.safetensors"));
  CHECK(json_in(work, "named/keel.json")["chat_format"] == "llama2");
  CHECK(json_in(work, "named/keel.json")["lineage"]["source_format"] == "meta");
  CHECK(stored_in(work, "wide").dtype == "F32");
  CHECK(outcomes[4].code == 2);
  CHECK(outcomes[4].says("one folder up: name it with --tokenizer"));
  CHECK(outcomes[5].code == 3);
  CHECK(outcomes[5].says("llama3/tokenizer.model: is a tiktoken vocabulary"));
  CHECK(outcomes[6].code == 2);
  CHECK(outcomes[6].says("name the folder that holds it with its params.json"));
  CHECK(outcomes[7].code == 2);
  CHECK(outcomes[7].says("keel convert with_tokenizer DST"));
  CHECK(outcomes[8].code == 3);
  CHECK(outcomes[8].says("hostile/consolidated.00.pth: its pickle asks for os.system"));
  CHECK_FALSE(work.has("ran"));
  CHECK_FALSE(work.has("refused"));
}

}  // namespace keel::pipelines::cli
