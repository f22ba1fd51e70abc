// What a request asks of the service, whatever its dialect: texts to score, and how the client reads the answer.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include "core/types.h"

namespace keel::serve::dialects {

struct PlainText {  // no special token is made from it, unless it begins as a rendered dialogue of the model's chat format does
  std::string text;
  bool bos = true;  // put one before it, where the tokenizer's files ask for one
};
struct RenderedText {  // as a trainer rendered it: special tokens are spelt out
  std::string text;
};
struct PromptAndAnswer {  // a dialogue of one turn
  std::string prompt, answer;
};
struct RenderedPrompt {  // a prompt as a trainer has it, rendered where it begins as one, and the answer of its decoder
  std::string prompt, answer;
};

struct Item {
  std::variant<PlainText, RenderedText, PromptAndAnswer, RenderedPrompt, core::Dialogue, core::Ids> content;
  bool decoded = false;  // the answer comes from a trainer's decoder: a special token that ends it is no text
  bool hazard = false;   // the prompt is about safety: Rc is Rs (Llama 2 paper, 3.2.3)
};

// What happens to a text that is longer than the limit. `own`: the service's choice.
enum class Overlong { own, keep_end, keep_start, refuse };

// An id of a text, and where it stands there: bytes begin to end, or neither for a special id.
struct Token {
  int64_t id = 0;
  std::string text = {};
  bool special = false;
  std::optional<int64_t> begin = {}, end = {};
};

// The scores of one item. Raw scores are logits.
struct Score {
  double raw = 0;
  int64_t tokens = 0;
  bool truncated = false;  // something was left out: oldest turns, as training did, or what did not fit
  bool cut = false;        // the latter
  // By the combination of two models: both scores, and whether the safety model decided. Absent for one model alone.
  struct Combined {
    double helpfulness = 0, safety = 0;
    bool safety_decides = false;
  };
  std::optional<Combined> combined = {};
  // Where the request asks for them: the tokens as text ("" for special ones), and how many at the end are the answer with its end.
  std::vector<std::string> pieces = {};
  int64_t answer_tokens = 0;
  std::vector<Token> listed = {};  // where Asked::lists_tokens
};

// Milliseconds of a request's way.
struct Timings {
  double tokenization = 0, queue = 0, inference = 0, total = 0;
};

struct Scored {
  std::string model;             // "helpfulness", "combined"
  std::string digest;            // of the model or models
  std::string id;                // of this request: 32 hexadecimal digits
  int64_t created = 0;           // seconds since 1970
  double gate = 0;               // probability below which the safety model decides
  nlohmann::json metadata = {};  // lineage, limits and truncation policy of the models
  Timings timings = {};
  int64_t most_tokens = 0;  // the limit of the models
  std::vector<Score> scores;
};

struct Asked {
  std::string model = {};       // "": the service's default
  bool model_optional = false;  // a model that is not served stands for the default: the client names something else there
  std::vector<Item> items = {};
  Overlong overlong = Overlong::own;
  std::optional<int64_t> max_tokens = {};                   // within the model's limit
  std::string limit_name = "max_tokens";                    // what the client calls it; one above the context is refused, unless this is ""
  int64_t max_answer_tokens = 0;                            // of a PromptAndAnswer, whose answer is cut behind them; 0 = no limit
  bool with_tokens = false;                                 // of the first model
  bool lists_tokens = false;                                // instead of scores, of all that the items hold
  int64_t most_items = 0;                                   // of this dialect; 0: the service's limit
  std::function<nlohmann::json(const Scored&)> reply = {};  // in the client's form
};

// Why a request is refused.
enum class Trouble {
  malformed,   // no JSON object
  empty,       // nothing to score
  invalid,     // a member is not as it must be, or a text cannot be rendered
  too_many,    // texts
  overlong,    // a text is over the limit
  unknown,     // no such model or path
  overloaded,  // no room in the queue, or it waited too long
  ending,      // models are not loaded yet, or the service ends
  model,       // the model failed
};

// A request that cannot be served. The reason repeats nothing of it but names of fields.
class Refused : public std::runtime_error {
 public:
  Refused(Trouble why, const std::string& reason) : std::runtime_error(reason), trouble(why) {}
  Trouble trouble;
};

}  // namespace keel::serve::dialects
