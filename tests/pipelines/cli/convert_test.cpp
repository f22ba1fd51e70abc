// What keel convert keeps of a checkpoint: the floating type of its weights, and its rope scaling.
#include <bit>

#include "pipelines/cli/keel_binary.h"

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
                                  {"convert", "model", "refused", "--dtype", "int8"}});
  REQUIRE(used[0].rows().size() == 1);
  CHECK(used[0].out == used[1].out);
  INFO(used[2].err);
  REQUIRE(used[2].code == 0);
  CHECK(type_in("tuned") == "F32 float32");
  CHECK(used[3].code == 3);
  CHECK(used[3].says("input_layernorm.weight holds numbers that float16 does not reach"));
  CHECK(used[4].code == 2);
  CHECK_FALSE(work.has("refused"));
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

}  // namespace keel::pipelines::cli
