// The text of an answer while its ids come in.
#pragma once

#include <string>

#include "core/types.h"
#include "data/chat_format.h"
#include "data/tokenizer.h"

namespace keel::data {

// For a terminal: all pieces together are answer_text() of all ids, and no piece ends within a character. Holds references to both.
class AnswerStream {
 public:
  AnswerStream(const ChatFormat& format, const Tokenizer& tokenizer) : format_(format), tokenizer_(tokenizer) {}

  // The text that this id completes; "" while a character is not whole, or where blanks may still be stripped.
  std::string add(int64_t id);

  // What is left. Where a tokenizer takes back what it gave out (a run of bytes that breaks off), the whole text on a line of its own.
  std::string finish();

  std::string text() const;  // answer_text() of the ids so far

 private:
  const ChatFormat& format_;
  const Tokenizer& tokenizer_;
  core::Ids ids_;
  std::string given_;
};

}  // namespace keel::data
