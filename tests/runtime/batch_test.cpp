#include "runtime/batch.h"

#include "support/test.h"

using Catch::Matchers::ContainsSubstring;
using keel::core::Ids;
using keel::core::TokenSequence;
using keel::test::bools;
using keel::test::tensor;
using Groups = std::vector<std::vector<size_t>>;
using Rows = std::vector<std::vector<int64_t>>;

TEST_CASE("batch: rows of unequal length stand left, zeros behind them", "[runtime]") {
  const auto batch = keel::runtime::pad_right({{7, 8, 9}, {5}});
  CHECK_CLOSE(batch.ids, tensor({{7, 8, 9}, {5, 0, 0}}), 0);
  CHECK_CLOSE(batch.positions, tensor({{0, 1, 2}, {0, 1, 2}}), 0);
  CHECK_CLOSE(batch.lengths, tensor({3, 1}), 0);
  CHECK_FALSE(batch.segments.defined());
  CHECK(batch.ids.scalar_type() == at::kLong);
  CHECK_THROWS_WITH(keel::runtime::pad_right({{1}, {}}), ContainsSubstring("no tokens"));
}

TEST_CASE("batch: groups by length hold at most the padded tokens asked for, or one row", "[runtime]") {
  const std::vector<Ids> rows = {Ids(5), Ids(1), Ids(3), Ids(3), Ids(2), Ids(9)};
  // Sorted lengths 1 2 3 3 5 9: 2 x 2 fits 8, 3 x 3 does not; 2 x 3 fits, 3 x 5 does not; 9 is a batch of its own.
  CHECK(keel::runtime::batches_by_length(rows, 8) == Groups{{1, 4}, {2, 3}, {0}, {5}});
  CHECK(keel::runtime::batches_by_length(rows, 54) == Groups{{1, 4, 2, 3, 0, 5}});
  CHECK(keel::runtime::batches_by_length(rows, 1).size() == 6);
  CHECK(keel::runtime::batches_by_length({}, 8).empty());
}

TEST_CASE("batch: neighbours share a group up to a number of rows and of padded tokens", "[runtime]") {
  using keel::runtime::cut_by_tokens;
  using Ranges = std::vector<keel::runtime::RowRange>;
  const std::vector<int64_t> lengths = {2, 2, 2, 5, 1, 1, 9, 3};
  CHECK((cut_by_tokens(lengths, 2, 100) == Ranges{{0, 2}, {2, 4}, {4, 6}, {6, 8}}));
  CHECK((cut_by_tokens(lengths, 3, 100) == Ranges{{0, 3}, {3, 6}, {6, 8}}));
  // 3 x 2 = 6 fits, with the row of 5 it is 4 x 5; 2 x 5 does not fit, though the row after 5 has one token alone; 9 is a group of its own.
  CHECK((cut_by_tokens(lengths, 8, 6) == Ranges{{0, 3}, {3, 4}, {4, 6}, {6, 7}, {7, 8}}));
  CHECK((cut_by_tokens(lengths, 8, 10) == Ranges{{0, 3}, {3, 5}, {5, 6}, {6, 7}, {7, 8}}));
  CHECK(cut_by_tokens(lengths, 1, 100).size() == 8);
  CHECK(cut_by_tokens({}, 2, 100).empty());
}

TEST_CASE("batch: packing resets positions, numbers segments and predicts within a segment only", "[runtime]") {
  const TokenSequence a{.ids = {11, 12, 13}, .loss_mask = {true, false, true}};
  const TokenSequence b{.ids = {21, 22}, .loss_mask = {true, true}};
  const TokenSequence c{.ids = {31}, .loss_mask = {true}};
  const auto batch = keel::runtime::pack({{&a, &b}, {&c, &b}});
  CHECK_CLOSE(batch.tokens.ids, tensor({{11, 12, 13, 21, 22}, {31, 21, 22, 0, 0}}), 0);
  CHECK_CLOSE(batch.tokens.positions, tensor({{0, 1, 2, 0, 1}, {0, 0, 1, 0, 0}}), 0);
  CHECK_CLOSE(batch.tokens.segments, tensor({{0, 0, 0, 1, 1}, {0, 1, 1, -1, -1}}), 0);
  CHECK_CLOSE(batch.targets, tensor({{0, 13, 0, 22, 0}, {0, 22, 0, 0, 0}}), 0);
  CHECK(batch.loss_mask.equal(bools({{0, 1, 0, 1, 0}, {0, 1, 0, 0, 0}})));
}

TEST_CASE("batch: rows are planned in order, next fit", "[runtime]") {
  CHECK(keel::runtime::plan_rows({4, 4, 3, 5, 1, 8}, 8) == Rows{{0, 1}, {2, 3}, {4}, {5}});
  CHECK(keel::runtime::plan_rows({}, 8).empty());
  CHECK_THROWS_WITH(keel::runtime::plan_rows({3, 9}, 8), ContainsSubstring("sequence 1 has 9 tokens"));
  CHECK_THROWS_WITH(keel::runtime::plan_rows({0}, 8), ContainsSubstring("sequence 0 has 0 tokens"));
}
