#include "engine/prefix_cache.h"

#include <atomic>
#include <numeric>
#include <thread>

#include "support/test_plain.h"

using keel::core::Ids;
using keel::engine::kPage;
using keel::engine::PagePool;
using keel::engine::PrefixCache;
using keel::engine::Sequence;

namespace {

constexpr keel::engine::Shape kOneLayer{.width = 8, .heads = 2, .key_heads = 1, .head_size = 4, .inner = 8, .outputs = 5};

Ids count_from(int64_t first, int64_t length) {
  Ids ids(static_cast<size_t>(length));
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

Sequence sequence_of(PagePool& pool, int64_t length) {
  Sequence sequence;
  pool.extend(sequence, length);
  return sequence;
}

}  // namespace

TEST_CASE("prefix cache: the longest beginning is found among neighbours on both sides, and never the whole", "[engine]") {
  PagePool pool(kOneLayer, 1);
  PrefixCache cache(pool, 100 * pool.page_bytes());
  const auto begins = [&](const Ids& ids) {
    Sequence sequence = cache.begin(ids);
    const int64_t length = sequence.length;
    pool.release(sequence);
    return length;
  };
  CHECK(begins({1, 2, 3}) == 0);
  cache.keep({1, 2, 3, 4, 5}, sequence_of(pool, 5));
  cache.keep({1, 2, 9}, sequence_of(pool, 3));
  CHECK(begins({1, 2, 3, 4, 5, 6}) == 5);
  CHECK(begins({1, 2, 3, 4, 5}) == 4);  // the last one's outputs are still wanted
  CHECK(begins({1, 2, 3, 4, 4}) == 4);  // before the first
  CHECK(begins({1, 2, 8}) == 2);
  CHECK(begins({1, 2, 9, 9}) == 3);  // after the last
  CHECK(begins({2, 2, 9}) == 0);
  CHECK(begins({1}) == 0);
  CHECK(pool.pages_in_use() == 2);
}

TEST_CASE("prefix cache: what begins stays, whatever becomes of the one that it was taken from", "[engine]") {
  PagePool pool(kOneLayer, 1);
  PrefixCache cache(pool, 3 * pool.page_bytes());
  Sequence first = sequence_of(pool, kPage + 2);
  first.pages[0][0] = 7;
  first.pages[1][0] = 8;
  cache.keep(count_from(0, kPage + 2), first);
  Sequence taken = cache.begin(count_from(0, kPage + 9));
  CHECK(taken.length == kPage + 2);
  cache.begin_turn();
  cache.keep(count_from(100, 3 * kPage), sequence_of(pool, 3 * kPage));  // makes the first one go
  Sequence gone = cache.begin(count_from(0, kPage));
  CHECK(gone.length == 0);
  Sequence other = sequence_of(pool, 6 * kPage);  // takes every page that is free
  for (float* page : other.pages)
    page[0] = 1;
  CHECK(taken.pages[0][0] == 7);
  CHECK(taken.pages[1][0] == 8);
  pool.release(taken);
  pool.release(other);
  CHECK(pool.pages_in_use() == 3);
}

TEST_CASE("prefix cache: a sequence takes the place of its beginning, and those of earlier turns make room", "[engine]") {
  PagePool pool(kOneLayer, 1);
  PrefixCache cache(pool, 4 * pool.page_bytes());
  cache.keep(count_from(0, 5), sequence_of(pool, 5));
  cache.keep(count_from(0, 9), sequence_of(pool, 9));
  CHECK(pool.pages_in_use() == 1);
  cache.keep(count_from(0, 7), sequence_of(pool, 7));  // known already
  cache.keep(count_from(0, 9), sequence_of(pool, 9));
  CHECK(pool.pages_in_use() == 1);
  cache.keep(count_from(100, 2 * kPage), sequence_of(pool, 2 * kPage));
  cache.keep(count_from(200, kPage), sequence_of(pool, kPage));
  CHECK(pool.pages_in_use() == 4);
  cache.begin_turn();
  Sequence used = cache.begin(count_from(0, 5));  // of this turn: it stays
  pool.release(used);
  cache.keep(count_from(300, 2 * kPage), sequence_of(pool, 2 * kPage));
  const auto known = [&](int64_t first) {
    Sequence kept = cache.begin(count_from(first, 4));
    const bool found = kept.length == 3;
    pool.release(kept);
    return found;
  };
  CHECK((known(0) && known(300)));
  CHECK((!known(100) && !known(200)));  // of the turn before; there is room for one of them no more
  CHECK(pool.pages_in_use() == 3);
  cache.keep(count_from(400, 2 * kPage), sequence_of(pool, 2 * kPage));  // all that is there is of this turn
  cache.keep(count_from(500, 5 * kPage), sequence_of(pool, 5 * kPage));  // more than all
  CHECK((known(0) && known(300) && !known(400) && !known(500)));
  CHECK(PrefixCache(pool, 0).keeps() == false);
}

TEST_CASE("prefix cache: dialogues for which there is no room do not drive out those that come next", "[engine]") {
  PagePool pool(kOneLayer, 1);
  PrefixCache cache(pool, 40 * pool.page_bytes());
  int64_t found = 0;
  for (int64_t turn = 1; turn <= 10; ++turn) {
    cache.begin_turn();
    found = 0;
    for (int64_t dialogue = 0; dialogue < 30; ++dialogue) {  // of up to ten pages each
      const Ids ids = count_from(1000 * dialogue, turn * kPage);
      Sequence sequence = cache.begin(ids);
      if (sequence.length == (turn - 1) * kPage && turn > 1) ++found;
      pool.extend(sequence, std::ssize(ids));
      cache.keep(ids, sequence);
    }
  }
  CHECK(found >= 3);  // of the four that fit
}

TEST_CASE("prefix cache: threads take, extend and keep sequences at the same time", "[engine]") {
  PagePool pool(kOneLayer, 1);
  PrefixCache cache(pool, 40 * pool.page_bytes());
  std::atomic<int64_t> wrong = 0;
  std::vector<std::thread> threads;
  for (int64_t thread = 0; thread < 3; ++thread)
    threads.emplace_back([&, thread] {
      for (int64_t round = 0; round < 300; ++round) {
        const Ids ids = count_from(1000 * ((round + thread) % 5), 4 * kPage + round % 7);  // five dialogues for all threads
        Sequence sequence = cache.begin(ids);
        for (int64_t page = 0; page < sequence.length / kPage; ++page)  // what was kept says whose it is
          if (sequence.pages[static_cast<size_t>(page)][0] != static_cast<float>(ids[0] + page)) ++wrong;
        const int64_t known = sequence.length / kPage;
        pool.extend(sequence, std::ssize(ids));
        for (int64_t page = known; page < std::ssize(sequence.pages); ++page)
          sequence.pages[static_cast<size_t>(page)][0] = static_cast<float>(ids[0] + page);
        cache.keep(ids, std::move(sequence));
      }
    });
  for (auto& thread : threads)
    thread.join();
  CHECK(wrong == 0);
  CHECK(pool.pages_in_use() <= 40);
}
