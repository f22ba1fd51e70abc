// libFuzzer's target (make fuzz): the bytes of a body, through the parser and every dialect that might read it, to the reply.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "serve/dialects/body.h"
#include "serve/dialects/dialects.h"

using namespace keel::serve::dialects;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string body(reinterpret_cast<const char*>(data), size);
  nlohmann::json parsed;
  try {
    parsed = parse_body(body);
    check_lengths(parsed, 4096);
  } catch (const Refused&) {
    return 0;
  }
  for (const auto read :
       {trainer_request, llama_factory_request, reward_request, logprobs_request, classify_request, score_request, rerank_request,
        tei_rerank_request, pooling_request, embeddings_request, predict_request, tokenize_request, tei_tokenize_request}) {
    try {
      const Asked asked = read(parsed);
      if (!asked.reply) continue;
      Scored scored{.model = "combined", .digest = "d", .id = "i", .scores = {}};
      for (size_t i = 0; i < asked.items.size(); ++i)
        scored.scores.push_back({.raw = static_cast<double>(i % 7) - 3, .tokens = 5, .combined = Score::Combined{.helpfulness = 1}});
      reply_body(asked.reply(scored));
    } catch (const Refused& refused) {
      error_body(Family::tei, refused.trouble, refused.what());
    }
  }
  return 0;
}
