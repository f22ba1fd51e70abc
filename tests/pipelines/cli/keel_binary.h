// The keel binary as a user runs it: arguments, files, exit code, output; and a tiny model folder for it.
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/files.h"
#include "core/jsonl.h"
#include "core/safetensors.h"
#include "data/sentencepiece_training.h"
#include "support/test_plain.h"

namespace keel::test {

struct Outcome {
  int code = 0;          // exit code; minus the signal that ended it
  std::string out, err;  // standard output and error

  std::vector<nlohmann::json> rows() const {
    std::istringstream text(out);
    std::vector<nlohmann::json> rows;
    for (std::string line; std::getline(text, line);)
      rows.push_back(nlohmann::json::parse(line));
    return rows;
  }
  bool says(const std::string& text) const { return err.find(text) != std::string::npos; }
};

inline std::vector<nlohmann::json> rows_in(const std::filesystem::path& file) {
  std::vector<nlohmann::json> rows;
  core::JsonlReader reader(file);
  for (nlohmann::json row; reader.next(row);)
    rows.push_back(row);
  return rows;
}

// keel running in `folder`, so that relative names in its arguments and messages are those of the test.
class Process {
 public:
  Process(const std::filesystem::path& folder, std::vector<std::string> arguments, const std::string& fail_point = {}) {
    arguments.insert(arguments.begin(), "keel");
    const bool command = arguments.size() > 1 && !arguments[1].starts_with("-");
    if (command && std::ranges::find(arguments, "--threads") == arguments.end()) arguments.insert(arguments.end(), {"--threads", "1"});
    std::vector<char*> argv;
    for (auto& argument : arguments)
      argv.push_back(argument.data());
    argv.push_back(nullptr);
    child_ = fork();
    if (child_ != 0) return;
    if (!fail_point.empty()) setenv("KEEL_FAIL_POINT", fail_point.c_str(), 1);
    const bool ready = chdir(folder.c_str()) == 0 && redirect(STDOUT_FILENO, streams_ / "out") && redirect(STDERR_FILENO, streams_ / "err");
    if (ready) execv(KEEL_BINARY, argv.data());
    _exit(126);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() {
    if (child_ > 0) end(SIGKILL);
  }

  // Sends `signal` as soon as `file` holds more than now; false when keel ended before that.
  bool signal_once_grown(const std::filesystem::path& file, int signal) {
    const auto size = [&] {
      std::error_code missing;
      const auto bytes = std::filesystem::file_size(file, missing);
      return missing ? 0 : bytes;
    };
    const auto before = size();
    for (;;) {
      if (size() > before) return kill(child_, signal) == 0;
      siginfo_t state{};
      if (waitid(P_PID, static_cast<id_t>(child_), &state, WEXITED | WNOHANG | WNOWAIT) != 0 || state.si_pid != 0) return false;
      usleep(500);
    }
  }

  void signal(int number) const { kill(child_, number); }
  std::string errors_so_far() const { return read_text(streams_ / "err"); }

  Outcome wait() {
    int status = 0;
    waitpid(child_, &status, 0);
    child_ = 0;
    const int code = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
    return {.code = code, .out = read_text(streams_ / "out"), .err = read_text(streams_ / "err")};
  }

  Outcome end(int signal) {
    kill(child_, signal);
    return wait();
  }

 private:
  static bool redirect(int stream, const std::filesystem::path& path) {
    const int descriptor = open(path.c_str(), O_WRONLY | O_CREAT, 0600);
    return descriptor >= 0 && dup2(descriptor, stream) >= 0;
  }

  TemporaryFolder streams_;
  pid_t child_ = 0;
};

// Several at a time: a small command spends most of its time loading LibTorch.
inline std::vector<Outcome> run_all(const std::filesystem::path& folder, const std::vector<std::vector<std::string>>& commands) {
  std::vector<std::unique_ptr<Process>> running;
  for (const auto& arguments : commands)
    running.push_back(std::make_unique<Process>(folder, arguments));
  std::vector<Outcome> outcomes;
  for (const auto& process : running)
    outcomes.push_back(process->wait());
  return outcomes;
}

// The weights of a Llama of two layers by a formula, in the order of llama2.c's files: name, shape, values.
struct TinyTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<float> values;
};

constexpr int kTinyVocabulary = 320, kTinyWidth = 8, kTinyInner = 12, kTinyLayers = 2, kTinyHeads = 2, kTinyContext = 96;
constexpr int kTinyHeadWidth = kTinyWidth / kTinyHeads, kTinyKeyWidth = kTinyHeadWidth;  // one key and value head

inline std::vector<TinyTensor> tiny_weights() {
  std::vector<TinyTensor> tensors = {{"model.embed_tokens.weight", {kTinyVocabulary, kTinyWidth}, {}}};
  const std::vector<std::pair<std::string, std::vector<int64_t>>> parts = {{"input_layernorm", {kTinyWidth}},
                                                                           {"self_attn.q_proj", {kTinyWidth, kTinyWidth}},
                                                                           {"self_attn.k_proj", {kTinyKeyWidth, kTinyWidth}},
                                                                           {"self_attn.v_proj", {kTinyKeyWidth, kTinyWidth}},
                                                                           {"self_attn.o_proj", {kTinyWidth, kTinyWidth}},
                                                                           {"post_attention_layernorm", {kTinyWidth}},
                                                                           {"mlp.gate_proj", {kTinyInner, kTinyWidth}},
                                                                           {"mlp.down_proj", {kTinyWidth, kTinyInner}},
                                                                           {"mlp.up_proj", {kTinyInner, kTinyWidth}}};
  for (const auto& [part, shape] : parts)
    for (int layer = 0; layer < kTinyLayers; ++layer)
      tensors.push_back({"model.layers." + std::to_string(layer) + "." + part + ".weight", shape, {}});
  tensors.push_back({"model.norm.weight", {kTinyWidth}, {}});
  for (size_t k = 0; k < tensors.size(); ++k) {
    int64_t size = 1;
    for (const int64_t side : tensors[k].shape)
      size *= side;
    for (int64_t i = 0; i < size; ++i) {
      const double wave = 0.5 * std::sin(1.3 * static_cast<double>(i) + static_cast<double>(k));
      tensors[k].values.push_back(static_cast<float>(wave + (tensors[k].shape.size() == 1 ? 1 : 0)));
    }
  }
  for (int i = 0; i < kTinyWidth; ++i)
    tensors[0].values[static_cast<size_t>(2 * kTinyWidth + i)] *= 6;  // EOS: very likely after some tokens, very unlikely after others
  return tensors;
}

inline void write_tiny_folder(const std::filesystem::path& folder, const std::vector<TinyTensor>& tensors, nlohmann::json config,
                              const std::filesystem::path& tokenizer) {
  std::filesystem::create_directories(folder);
  std::vector<core::TensorEntry> entries;
  for (const auto& tensor : tensors)
    entries.push_back({.name = tensor.name, .dtype = "F32", .shape = tensor.shape});
  const auto bytes = [&](size_t i) {
    return std::string_view(reinterpret_cast<const char*>(tensors[i].values.data()), tensors[i].values.size() * sizeof(float));
  };
  core::write_safetensors(folder / "model.safetensors", entries, bytes, {{"format", "pt"}});
  config.update({{"model_type", "llama"},
                 {"vocab_size", kTinyVocabulary},
                 {"hidden_size", kTinyWidth},
                 {"intermediate_size", kTinyInner},
                 {"num_hidden_layers", kTinyLayers},
                 {"num_attention_heads", kTinyHeads},
                 {"num_key_value_heads", 1},
                 {"max_position_embeddings", kTinyContext},
                 {"rms_norm_eps", 1e-5},
                 {"tie_word_embeddings", true}});
  write_text(folder / "config.json", config.dump());
  write_text(folder / "keel.json", R"({"keel": "0.1.0", "chat_format": "llama2", "digest": "", "lineage": {}})");
  std::filesystem::copy_file(tokenizer, folder / "tokenizer.model");
}

// The bytes of a SentencePiece model, trained once.
inline const std::string& tiny_tokenizer() {
  static const std::string bytes = [] {
    const TemporaryFolder folder;
    data::train_sentencepiece({"[INST] the boat is in the harbour [/INST]", "the baker sells bread and the tailor mends coats",
                               "how many boats are in the harbour? there are three boats.", "[INST] who sells bread? [/INST] the baker."},
                              kTinyVocabulary, folder / "tokenizer.model");
    return read_text(folder / "tokenizer.model");
  }();
  return bytes;
}

// The whole recipe in a second: it learns nothing, but writes every file.
inline constexpr const char* kTinyRecipe = R"({
  "name": "tiny",  // comments are fine
  "sandbox": {"vocab_size": 512, "corpus": {"documents": 1000}, "demonstrations": {"count": 60},
              "helpful_prompts": 48, "hazard_prompts": 16, "lookalike_prompts": 16, "test_helpful": 12, "test_hazard": 6, "test_lookalike": 6},
  "llama": {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
            "max_position_embeddings": 256, "tie_word_embeddings": true},
  "pretrain": {"tokens": 2000, "batch": {"batch_rows": 4, "row_tokens": 128, "micro_rows": 4}},
  "sft": {"steps": 2, "batch": {"batch_rows": 4, "row_tokens": 128, "micro_rows": 4}},
  "versions": ["ppo"],
  "preferences": {"pairs": 40, "max_new_tokens": 8},
  "reward": {"batch_pairs": 8, "micro_pairs": 8},
  "rejection": {"samples": 2, "sampling": {"max_new_tokens": 4}, "selection": {"finished_only": false},
                "sft": {"steps": 2, "batch": {"batch_rows": 2, "row_tokens": 256, "micro_rows": 2}}},
  "ppo": {"iterations": 6, "batch_answers": 8, "minibatch_answers": 4, "micro_answers": 4, "sampling": {"max_new_tokens": 4}},
  "evaluation": {"max_new_tokens": 4, "replicates": 100}
})";

// A folder with `model` (a chat model), `reward` (the same with a scalar head) and `tiny.bin` (the model as llama2.c writes it).
class Workplace {
 public:
  Workplace() {
    write_text(folder_ / "tokenizer.model", tiny_tokenizer());
    const auto tensors = tiny_weights();
    write_tiny_folder(folder_ / "model", tensors, {{"architectures", {"LlamaForCausalLM"}}}, folder_ / "tokenizer.model");
    write_llama2c(tensors);
    write_reward("reward", 0);
  }

  // A reward model; `phase` changes its preferences.
  void write_reward(const std::string& name, double phase) const {
    auto tensors = tiny_weights();
    TinyTensor head{.name = "score.weight", .shape = {1, kTinyWidth}, .values = {}};
    for (int i = 0; i < kTinyWidth; ++i)
      head.values.push_back(static_cast<float>(std::cos(i + phase)));
    tensors.push_back(head);
    write_tiny_folder(folder_ / name, tensors,
                      {{"architectures", {"LlamaForSequenceClassification"}}, {"num_labels", 1}, {"pad_token_id", 3}},
                      folder_ / "tokenizer.model");
  }

  const std::filesystem::path& path() const { return folder_.path(); }
  std::filesystem::path operator/(const std::string& name) const { return folder_ / name; }
  void write(const std::string& name, const std::string& text) const { write_text(folder_ / name, text); }
  std::string read(const std::string& name) const { return read_text(folder_ / name); }
  bool has(const std::string& name) const { return std::filesystem::exists(folder_ / name); }
  Outcome run(const std::vector<std::string>& arguments, const std::string& fail_point = {}) const {
    return Process(path(), arguments, fail_point).wait();
  }
  std::vector<Outcome> run_all(const std::vector<std::vector<std::string>>& commands) const { return test::run_all(path(), commands); }

 private:
  // Reorders the rows of q and k: a rotated pair is (0, 1), (2, 3) there and (0, 2), (1, 3) here.
  void write_llama2c(const std::vector<TinyTensor>& tensors) const {
    const std::array<int32_t, 7> header = {kTinyWidth, kTinyInner, kTinyLayers, kTinyHeads, 1, kTinyVocabulary, kTinyContext};
    std::string bytes(reinterpret_cast<const char*>(header.data()), sizeof header);
    const auto append = [&](const float* values, size_t count) {
      bytes.append(reinterpret_cast<const char*>(values), count * sizeof(float));
    };
    static_assert(kTinyHeadWidth == 4);
    for (const auto& tensor : tensors) {
      const bool rotated = tensor.name.find("q_proj") != std::string::npos || tensor.name.find("k_proj") != std::string::npos;
      if (!rotated) append(tensor.values.data(), tensor.values.size());
      for (int64_t head = 0; rotated && head < tensor.shape[0]; head += 4)
        for (const int64_t row : {0, 2, 1, 3})
          append(tensor.values.data() + (head + row) * kTinyWidth, kTinyWidth);
    }
    const std::vector<float> rope_tables(kTinyContext * kTinyHeadWidth, 0);
    append(rope_tables.data(), rope_tables.size());
    write_text(folder_ / "tiny.bin", bytes);
  }

  TemporaryFolder folder_;
};

inline nlohmann::json json_in(const Workplace& work, const std::string& file) {
  return nlohmann::json::parse(work.read(file));
}

// files.json: a recipe that goes from `model` on preference files to the report; 40 usable pairs of each kind.
inline void write_files_recipe(const Workplace& work) {
  std::string helpful, harmless;
  for (int i = 0; i < 40; ++i) {
    const std::string question = "how many boats are in harbour " + std::to_string(i) + "?";
    const std::string start = "{\"prompt\":\"" + question + "\",\"chosen\":\"";
    // Every other conversation has an older exchange that does not fit.
    const std::string longer =
        R"({"prompt":[{"role":"user","content":"who lives in harbour )" + std::to_string(i) +
        R"(?"},{"role":"assistant","content":"the baker, a cat, three boats and whoever sells bread there are three of them."},{"role":"user","content":")" +
        question + R"("}],"chosen":")";
    helpful += (i % 2 == 0 ? longer : start) +
               "there are three boats.\",\"rejected\":\"the baker.\",\"strength\":" + std::to_string(1 + i % 4) + "}\n";
    harmless += start + "who sells bread?\",\"rejected\":\"there are three.\",\"chosen_safe\":true,\"rejected_safe\":" +
                (i % 2 == 0 ? "true" : "false") + "}\n";
  }
  harmless += "{\"prompt\":\"who?\",\"chosen\":\"the baker.\",\"rejected\":\"no\",\"chosen_safe\":false,\"rejected_safe\":true}\n";
  work.write("helpful.jsonl", helpful);
  work.write("harmless.jsonl", harmless);
  work.write("files.json", R"({
    "name": "files", "model": "model", "versions": ["ppo"],
    "data": {"source": "files", "helpful": "helpful.jsonl", "harmless": "harmless.jsonl", "held_out": 0.4, "max_tokens": 80,
             "train_prompts": 8, "validation_prompts": 2, "test_prompts": 8, "max_demonstrations": 8},
    "sft": {"steps": 2, "batch": {"batch_rows": 2, "row_tokens": 96, "micro_rows": 2}},
    "reward": {"batch_pairs": 8, "micro_pairs": 8},
    "rejection": {"samples": 2, "sampling": {"max_new_tokens": 4}, "selection": {"finished_only": false},
                  "sft": {"steps": 2, "batch": {"batch_rows": 2, "row_tokens": 96, "micro_rows": 2}}},
    "ppo": {"iterations": 1, "batch_answers": 4, "minibatch_answers": 4, "micro_answers": 4, "sampling": {"max_new_tokens": 4}},
    "evaluation": {"max_new_tokens": 4, "replicates": 100}
  })");
}

}  // namespace keel::test
