#include "data/answer_stream.h"

namespace keel::data {

std::string AnswerStream::text() const {
  return answer_text(format_, tokenizer_, ids_);
}

std::string AnswerStream::add(int64_t id) {
  ids_.push_back(id);
  std::string now = text();
  while (now.ends_with("\xEF\xBF\xBD"))  // U+FFFD: bytes of a character that may become whole
    now.resize(now.size() - 3);
  if (!now.starts_with(given_)) return {};
  std::string more = now.substr(given_.size());
  given_ = std::move(now);
  return more;
}

std::string AnswerStream::finish() {
  const std::string whole = text();
  return whole.starts_with(given_) ? whole.substr(given_.size()) : "\n" + whole;
}

}  // namespace keel::data
