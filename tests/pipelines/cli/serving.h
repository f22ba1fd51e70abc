// keel serve as its users run it: the binary, over sockets.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "http/raw_client.h"
#include "pipelines/cli/keel_binary.h"

namespace keel::test {

using Json = nlohmann::json;
using Words = std::vector<std::string>;

// A running service; its first address.
class Serving {
 public:
  Serving(const Workplace& work, Words arguments) : process_(work.path(), with_common(work, std::move(arguments))) {
    for (int i = 0; i < 1000 && !work.has("ready"); ++i)
      usleep(10'000);
    INFO(process_.errors_so_far());
    REQUIRE(work.has("ready"));
    address_ = work.read("ready");
    address_ = address_.substr(0, address_.find('\n'));
  }

  const std::string& address() const { return address_; }
  Process& process() { return process_; }

  std::pair<int, Json> ask(const std::string& bytes) const {
    const RawClient client(address_);
    client.send(bytes);
    const std::string reply = client.reply(), body = body_of(reply);
    return {status_of(reply), Json::accept(body) ? Json::parse(body) : Json(body)};
  }
  std::pair<int, Json> post(const std::string& path, const Json& body, const std::string& headers = {}) const {
    return ask(test::post(path, body.dump(), headers));
  }
  std::pair<int, Json> get(const std::string& path, const std::string& headers = {}) const { return ask(test::get(path, headers)); }

  // Whether `what` becomes true within ten seconds.
  template <class What>
  static bool comes_true(What what) {
    for (int i = 0; i < 500; ++i) {
      if (what()) return true;
      usleep(20'000);
    }
    return false;
  }

 private:
  static Words with_common(const Workplace& work, Words arguments) {
    std::filesystem::remove(work / "ready");
    Words all = {"serve", "--bind", "127.0.0.1:0", "--ready-file", "ready"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return all;
  }
  Process process_;
  std::string address_;
};

inline const Words kTwo = {"--reward", "helpfulness=reward", "--reward", "safety=other", "--combine", "llama2", "--gate-threshold", "0.45"};

inline Words with(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

inline constexpr const char* kRows =
    R"({"prompt":"who sells bread?","response":"the baker."}
{"messages":[{"role":"system","content":"be kind"},{"role":"user","content":"how many boats?"},{"role":"assistant","content":"three"},{"role":"user","content":"where?"},{"role":"assistant","content":"in the harbour."}]}
{"ids":[5,9,77,12,40]}
{"prompt":"who sells bread?","response":"the tailor mends coats","hazard":true}
)";

}  // namespace keel::test
