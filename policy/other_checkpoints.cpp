#include "policy/other_checkpoints.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/error.h"
#include "core/file_kind.h"
#include "core/files.h"
#include "core/json.h"

namespace keel::policy {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRead =
    "keel reads model.safetensors (or shards with model.safetensors.index.json), GGUF, llama2.c's .bin and Meta's consolidated.NN.pth";
constexpr const char* kSaveAgain =
    "save the model as safetensors with transformers: AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW)";

// "PyTorch weights" and the like for a file name; "" for others.
std::string other_weights(const fs::path& file) {
  const std::string name = file.filename(), ending = file.extension();
  if (ending == ".pth" || ending == ".pt" || ending == ".ckpt" || (ending == ".bin" && name.starts_with("pytorch_model")))
    return "PyTorch weights";
  if (ending == ".onnx" || ending == ".onnx_data") return "an ONNX graph";
  if (ending == ".h5") return "TensorFlow weights";
  if (ending == ".msgpack") return "Flax weights";
  if (ending == ".mlmodel" || ending == ".mlpackage" || ending == ".tflite" || ending == ".engine") return "a compiled model";
  if (ending == ".nemo") return "a NeMo archive";
  return {};
}

std::string adapter_of(const fs::path& folder) {
  std::string base;
  try {
    const nlohmann::json config = core::read_json_file(folder / "adapter_config.json");
    if (config.is_object()) base = config.value("base_model_name_or_path", "");
  } catch (const std::exception&) {  // the name is only a hint
  }
  return fmt::format("it is an adapter{}: merge it into its model first (keel convert) and name that folder",
                     base.empty() ? "" : " for " + base);
}

bool is_meta(const fs::path& file) {
  return file.filename().string().starts_with("consolidated.") && file.extension() == ".pth";
}

}  // namespace

std::string other_folder(const fs::path& folder) {
  std::error_code failed;
  if (fs::exists(folder / "adapter_config.json", failed)) return adapter_of(folder);
  std::vector<fs::path> files;
  for (auto entry = fs::directory_iterator(folder, failed); !failed && entry != fs::directory_iterator(); entry.increment(failed))
    files.push_back(entry->path());
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files)
    if (const std::string name = file.filename(); file.extension() == ".safetensors" && name != "model.safetensors") {
      if (name.find("-of-") != std::string::npos)
        return fmt::format("it holds the shard {} without model.safetensors.index.json: fetch the index too", name);
      return fmt::format(
          "it holds {}, which is not under the name model.safetensors: rename it if it is the whole model in Hugging Face's names", name);
    }
  for (const fs::path& file : files)
    if (file.extension() == ".gguf")
      return fmt::format("it holds {}: name that file (keel convert {} DST)", file.filename().string(), file.string());
  for (const fs::path& file : files)
    if (is_meta(file)) {
      const std::string what = fmt::format("it holds Meta's own weights ({})", file.filename().string());
      return fs::exists(folder / "params.json", failed)
                 ? fmt::format("{}: make a model folder of them (keel convert {} DST)", what, folder.string())
                 : fmt::format("{} without params.json: fetch that file too, then keel convert reads them", what);
    }
  for (const fs::path& file : files)
    if (const std::string kind = other_weights(file); !kind.empty())
      return fmt::format("it holds {} ({}); {}; {}", kind, file.filename().string(), kRead, kSaveAgain);
  for (const fs::path& file : files)
    if (fs::is_directory(file, failed) && fs::exists(file / "model.safetensors", failed))
      return fmt::format("its folder {} holds a model: name that one", file.filename().string());
  return {};
}

void refuse_other_checkpoint(const fs::path& file) {
  const auto refuse = [&](const std::string& why) {
    throw core::UsageError(fmt::format("{} is no checkpoint that keel reads: {}", file.string(), why));
  };
  if (file.extension() == ".safetensors")
    refuse(fmt::format("name the folder that holds it with its config.json, {}", fs::absolute(file).parent_path().string()));
  if (file.filename().string().ends_with(".index.json") || file.filename() == "config.json" || file.filename() == "adapter_config.json")
    refuse(fmt::format("name the folder, {}", fs::absolute(file).parent_path().string()));
  if (is_meta(file))
    refuse(fmt::format("name the folder that holds it with its params.json, {}", fs::absolute(file).parent_path().string()));
  const std::string kind = other_weights(file);
  std::string head;
  if (fs::is_regular_file(file)) head = core::MappedFile(file).bytes().substr(0, 512);
  const std::string foreign = core::foreign_file(head);
  if (foreign.starts_with("a Git LFS pointer")) throw core::DataError(file, 0, "is " + foreign);
  if (!kind.empty()) refuse(fmt::format("it holds {}; {}; {}", kind, kRead, kSaveAgain));
  if (!foreign.empty()) refuse("it is " + foreign);
}

}  // namespace keel::policy
