#include "policy/base_model.h"

#include <c10/core/TensorImpl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "policy/lora.h"
#include "policy/model_directory.h"
#include "runtime/device.h"

namespace keel::policy {
namespace {

namespace fs = std::filesystem;

std::mutex mutex;  // of all below

fs::path& given_base() {
  static fs::path folder;
  return folder;
}

bool is_model_folder(const fs::path& folder) {
  std::error_code failed;
  return fs::exists(folder / "config.json", failed);
}

// What is wrong with a folder as the base of `adapter`, "" where nothing is.
std::string base_problem(const fs::path& folder, const fs::path& adapter) {
  std::error_code failed;
  if (fs::equivalent(folder, adapter, failed)) return "is the adapter itself";
  if (is_adapter(folder)) return "is an adapter too; merge it into its own base first (keel convert ADAPTER DST)";
  return is_model_folder(folder) ? "" : "is no model folder: it holds no config.json";
}

// Which files a model folder's weights are in: equal text, equal bytes. Links to one file are one file.
std::string identity_of(const fs::path& folder) {
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    if (name != "config.json" && !name.ends_with(".safetensors") && !name.ends_with(".index.json")) continue;
    struct stat found {};
    if (::stat(entry.path().c_str(), &found) != 0) continue;  // load_llama() says what is wrong
    files.push_back(fmt::format("{} {}:{} {} {}.{} {}.{}", name, found.st_dev, found.st_ino, found.st_size, found.st_mtim.tv_sec,
                                found.st_mtim.tv_nsec, found.st_ctim.tv_sec, found.st_ctim.tv_nsec));
  }
  std::sort(files.begin(), files.end());
  return fmt::format("{}", fmt::join(files, "\n"));
}

// Weights that some model holds; it keeps none of them alive.
class Held {
 public:
  // The whole model, if every weight of it still lives.
  std::optional<Llama> find(Head head) const {
    if (!config_) return {};
    Llama model = empty_llama(*config_, c10::kMeta);
    if (head == Head::none) model = backbone_of(model);
    bool whole = true;
    visit_weights(model, [&](const std::string& name, at::Tensor& tensor) {
      tensor = living(name);
      whole = whole && tensor.defined();
    });
    return whole ? std::optional(model) : std::nullopt;
  }

  void remember(Llama model) {
    config_ = model.config;
    visit_weights(model,
                  [&](const std::string& name, at::Tensor& tensor) { weights_.insert_or_assign(name, Weak(tensor.getIntrusivePtr())); });
  }

  bool lives() const {
    return std::ranges::any_of(weights_, [](const auto& weight) { return !weight.second.expired(); });
  }

  at::Tensor living(const std::string& name) const {  // undefined where none lives
    const auto found = weights_.find(name);
    return found == weights_.end() ? at::Tensor() : at::Tensor(found->second.lock());
  }

 private:
  using Weak = c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>;

  std::optional<LlamaConfig> config_;
  std::map<std::string, Weak> weights_;
};

std::map<std::string, Held>& all_held() {  // by identity_of() their folders
  static std::map<std::string, Held> all;
  return all;
}

Llama share_locked(const std::string& identity, Llama fresh) {
  fresh = moved(fresh, runtime::compute_device());
  std::erase_if(all_held(), [](const auto& entry) { return !entry.second.lives(); });
  visit_weights(fresh, [](const std::string& name, at::Tensor& tensor) {
    for (const auto& [other, held] : all_held())
      if (const at::Tensor known = held.living(name); known.defined() && known.dtype() == tensor.dtype() && known.equal(tensor)) {
        tensor = known;
        return;
      }
  });
  all_held()[identity].remember(fresh);
  return fresh;
}

bool is_classifier(const fs::path& folder) {
  if (!is_model_folder(folder)) return false;
  const nlohmann::json config = core::read_json_file(folder / "config.json");
  const auto kinds = config.is_object() ? config.value("architectures", nlohmann::json()) : nlohmann::json();
  return kinds.is_array() && std::find(kinds.begin(), kinds.end(), "LlamaForSequenceClassification") != kinds.end();
}

}  // namespace

void use_base(const fs::path& folder) {
  const std::lock_guard lock(mutex);
  given_base() = folder;
}

fs::path base_of(const fs::path& adapter) {
  const auto refuse = [&](const std::string& text) {
    throw core::UsageError(fmt::format("{} is a PEFT adapter, and {}", adapter.string(), text));
  };
  fs::path given;
  {
    const std::lock_guard lock(mutex);
    given = given_base();
  }
  if (!given.empty()) {
    if (const std::string problem = base_problem(given, adapter); !problem.empty())
      refuse(fmt::format("--base {} {}", given.string(), problem));
    return given;
  }
  const nlohmann::json config = core::read_json_file(adapter / "adapter_config.json");
  const auto named = config.is_object() ? config.value("base_model_name_or_path", nlohmann::json()) : nlohmann::json();
  if (!named.is_string() || named.get<std::string>().empty())
    refuse(
        "its adapter_config.json names no base model (base_model_name_or_path): give that model's folder, --base DIR (in a recipe: "
        "\"base\")");
  const auto name = named.get<std::string>();
  for (const fs::path& folder : {adapter / name, fs::path(name)}) {
    std::error_code failed;
    if (!fs::is_directory(folder, failed)) continue;
    if (const std::string problem = base_problem(folder, adapter); !problem.empty())
      refuse(fmt::format("its base {} (base_model_name_or_path) {}; --base DIR (in a recipe: \"base\") names another", folder.string(),
                         problem));
    return folder.lexically_normal();
  }
  refuse(
      fmt::format("its base model is \"{}\" (base_model_name_or_path), which is no folder here: fetch that model and give its folder, "
                  "--base DIR (in a recipe: \"base\")",
                  name));
  return {};
}

fs::path weights_folder(const fs::path& folder) {
  return is_adapter(folder) ? base_of(folder) : folder;
}

Llama shared_weights(const fs::path& folder, Head head) {
  if (!is_model_folder(folder)) return load_llama(folder);  // which refuses it
  const std::lock_guard lock(mutex);
  const std::string identity = identity_of(folder);
  if (auto known = all_held()[identity].find(head)) return *known;
  Llama fresh = head == Head::none && is_classifier(folder) ? load_classifier(folder, Precision::frozen).backbone
                                                            : load_llama(folder, Precision::frozen);
  return share_locked(identity, head == Head::none ? backbone_of(fresh) : fresh);
}

Llama share(const fs::path& folder, Llama fresh) {
  const std::lock_guard lock(mutex);
  return share_locked(identity_of(folder), std::move(fresh));
}

}  // namespace keel::policy
