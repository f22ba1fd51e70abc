#include "engine/pages.h"

#include <algorithm>

#include "support/test_plain.h"

using keel::engine::kPage;
using keel::engine::PagePool;
using keel::engine::Sequence;
using keel::engine::Shape;

namespace {

constexpr Shape kShape{.width = 8, .heads = 2, .key_heads = 1, .head_size = 4, .inner = 8, .outputs = 5};

}  // namespace

TEST_CASE("pages: a sequence gets a page for every 16 positions, and gives them back", "[engine]") {
  PagePool pool(kShape, 2);
  Sequence one;
  pool.extend(one, 1);
  CHECK(one.pages.size() == 1);
  pool.extend(one, kPage);
  CHECK(one.pages.size() == 1);
  pool.extend(one, kPage + 1);
  REQUIRE(one.pages.size() == 2);
  CHECK(one.length == kPage + 1);
  const auto before = one.pages;
  pool.release(one);
  CHECK(one.pages.empty());
  CHECK(one.length == 0);
  Sequence two;
  pool.extend(two, 2 * kPage);
  CHECK(std::is_permutation(two.pages.begin(), two.pages.end(), before.begin(), before.end()));  // no new memory
}

TEST_CASE("pages: a fork shares full pages, copies a last one that is not full, and keeps them while its parent goes", "[engine]") {
  PagePool pool(kShape, 2);
  for (const int64_t length : {kPage, kPage + 3}) {
    Sequence parent;
    pool.extend(parent, length);
    const int64_t place = pool.offset(1, 0);  // of the second layer
    for (float* page : parent.pages)
      page[place] = 7;
    Sequence child = pool.fork(parent, length);
    CHECK(child.length == length);
    CHECK(child.pages[0] == parent.pages[0]);
    if (length > kPage) {
      REQUIRE(child.pages[1] != parent.pages[1]);
      CHECK(child.pages[1][place] == 7);
      child.pages[1][place] = 8;
      CHECK(parent.pages[1][place] == 7);
    }
    float* const shared = parent.pages[0];
    Sequence part = pool.fork(parent, kPage);
    CHECK(part.pages == std::vector{parent.pages[0]});
    pool.release(part);
    pool.release(parent);
    Sequence other;
    pool.extend(other, 3 * kPage);  // takes what is free
    CHECK(std::find(other.pages.begin(), other.pages.end(), shared) == other.pages.end());
    pool.release(child);
    pool.extend(other, 6 * kPage);
    CHECK(std::find(other.pages.begin(), other.pages.end(), shared) != other.pages.end());
    pool.release(other);
  }
}
