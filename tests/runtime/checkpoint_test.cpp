#include "runtime/checkpoint.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "runtime/tensor_file.h"
#include "support/test.h"

using Catch::Matchers::ContainsSubstring;
using keel::core::DataError;
using keel::runtime::Checkpointer;
using keel::runtime::Parameters;

TEST_CASE("checkpoint: there is none until the first save, then the last one counts", "[runtime]") {
  const keel::test::TemporaryFolder folder;
  Checkpointer checkpointer(folder.path());
  CHECK_FALSE(checkpointer.load());
  CHECK_FALSE(checkpointer.due());
  for (const int64_t step : {1, 2})
    checkpointer.save({{"w", at::full({3}, static_cast<double>(step))}}, {{"step", step}, {"best", 0.1}});
  const auto loaded = Checkpointer(folder.path()).load();
  REQUIRE(loaded);
  CHECK(nlohmann::json::parse(loaded->state) == nlohmann::json{{"step", 2}, {"best", 0.1}});
  CHECK_CLOSE(loaded->tensors.at("w"), at::full({3}, 2.), 0);
}

TEST_CASE("checkpoint: a broken file, one with any other bit, and one that is no checkpoint are bad input", "[runtime]") {
  const keel::test::TemporaryFolder folder;
  Checkpointer(folder.path()).save({{"w", at::ones({3})}}, {{"step", 1}});
  const auto file = folder / "ckpt/state.safetensors";
  const std::string bytes = keel::test::read_text(file);
  keel::test::write_text(file, bytes.substr(0, bytes.size() - 1));
  CHECK_THROWS_AS(Checkpointer(folder.path()).load(), DataError);
  for (size_t at = 0; at < bytes.size(); ++at) {
    std::string other = bytes;
    other[at] = static_cast<char>(other[at] ^ 4);
    keel::test::write_text(file, other);
    CHECK_THROWS_AS(Checkpointer(folder.path()).load(), DataError);
  }
  keel::test::write_text(file, bytes);
  CHECK_NOTHROW(Checkpointer(folder.path()).load());
  keel::runtime::save_tensors(file, {{"w", at::ones({3})}}, {{"format", "pt"}});
  CHECK_THROWS_WITH(Checkpointer(folder.path()).load(), ContainsSubstring("is not what keel saved"));
  keel::runtime::save_sealed(file, {{"w", at::ones({3})}}, {});  // weights alone, as best.safetensors holds them
  CHECK_THROWS_WITH(Checkpointer(folder.path()).load(), ContainsSubstring("no checkpoint of keel"));
}

TEST_CASE("checkpoint: restore copies by name into the tensors that are there", "[runtime]") {
  const at::Tensor a = at::zeros({2}).requires_grad_(true), b = at::zeros({1, 2});
  keel::runtime::restore({{"b", at::full({1, 2}, 2.)}, {"a", at::full({2}, 1.)}, {"other", at::ones({9})}}, {{"a", a}, {"b", b}});
  CHECK_CLOSE(a.detach(), at::full({2}, 1.), 0);
  CHECK_CLOSE(b, at::full({1, 2}, 2.), 0);
  CHECK(a.requires_grad());
}

TEST_CASE("checkpoint: restore names what is missing or of another shape", "[runtime]") {
  const Parameters into = {{"w", at::zeros({2, 3})}};
  CHECK_THROWS_WITH(keel::runtime::restore({{"v", at::zeros({2, 3})}}, into), ContainsSubstring("holds no w"));
  CHECK_THROWS_WITH(keel::runtime::restore({{"w", at::zeros({3, 2})}}, into), ContainsSubstring("w must be [2, 3], got [3, 2]"));
  const at::Tensor first = at::zeros({2});  // has the right shape, but stays unchanged because the second has not
  CHECK_THROWS(keel::runtime::restore({{"a", at::ones({2})}, {"b", at::ones({1})}}, {{"a", first}, {"b", at::zeros({2})}}));
  CHECK_CLOSE(first, at::zeros({2}), 0);
}
