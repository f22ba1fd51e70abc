// Keys and values of sequences that have ended, for later ones that begin alike: the next turn of a dialogue.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

#include "core/types.h"
#include "engine/pages.h"

namespace keel::engine {

// Of sequences of one model whose weights do not change. May be used by several threads at once.
class PrefixCache {
 public:
  PrefixCache(PagePool& pages, int64_t most_bytes);

  bool keeps() const { return most_pages_ > 0; }

  // A sequence of the longest beginning of `ids` that is kept, at most all of them but the last, whose outputs are still to be computed.
  // Empty where nothing fits.
  Sequence begin(const core::Ids& ids);

  // A turn of all dialogues begins. What it uses stays to its end.
  void begin_turn();

  // Takes over the sequence of `ids` and drops its kept beginning. For room, sequences of the earliest turns go first, and of one turn
  // those used last: dialogues come in the same order in every turn, so that these are needed last. Where all are of this turn, it is not
  // kept.
  void keep(core::Ids ids, Sequence sequence);

 private:
  struct Kept {
    Sequence sequence;
    int64_t turn, used;  // when last, by turn_ and clock_
  };

  void drop(std::map<core::Ids, Kept>::iterator kept);

  PagePool& pages_;
  int64_t most_pages_;
  std::mutex mutex_;
  std::map<core::Ids, Kept> kept_;  // in the order of their ids: what begins alike stands together
  int64_t kept_pages_ = 0;          // pages that two of them share count twice
  int64_t turn_ = 0, clock_ = 0;
};

}  // namespace keel::engine
