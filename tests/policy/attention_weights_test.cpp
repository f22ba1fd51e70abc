#include "policy/attention_weights.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>

#include "policy/block.h"
#include "policy/lively_model.h"

using keel::policy::attention_weights;

TEST_CASE("attention weights: those of a token add up to 1 and leave out the tokens behind it", "[policy]") {
  const auto model = keel::test::lively_llama();
  const auto ids = keel::test::some_ids(0, 12);
  const auto all = attention_weights(model, ids, 0), last = attention_weights(model, ids, 9);
  REQUIRE(all.size() == 2);
  for (size_t layer = 0; layer < all.size(); ++layer) {
    CHECK(all[layer].sizes() == at::IntArrayRef({12, 12}));
    CHECK(at::allclose(all[layer].sum(1), at::ones({12}), 0, 1e-6));
    CHECK(all[layer].triu(1).abs().max().item<double>() == 0);
    CHECK(at::allclose(last[layer], all[layer].narrow(0, 9, 3), 0, 1e-6));
  }
  CHECK_THROWS_AS(attention_weights(model, ids, 12), c10::Error);
  CHECK_THROWS_AS(attention_weights(model, keel::test::some_ids(0, 41), 0), c10::Error);
}

TEST_CASE("attention weights: with equal values in all heads they mix the values as the block does", "[policy]") {
  // One layer, one head: what the block's attention returns is the weights times the values.
  auto config = keel::test::lively_config();
  config.num_hidden_layers = config.num_attention_heads = config.num_key_value_heads = 1;
  const auto model = keel::test::lively_llama(config);
  const auto ids = keel::test::some_ids(1, 7);
  const at::Tensor weights = attention_weights(model, ids, 0).at(0);
  const at::Tensor positions = at::arange(7, at::kLong).unsqueeze(0);
  at::Tensor values, mixed;
  keel::policy::block(model.layers[0], model.config, at::embedding(model.embedding, at::tensor(ids, at::kLong).unsqueeze(0)),
                      keel::policy::rotary(model.config, positions), [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
                        values = v;
                        return mixed = keel::policy::attention(q, k, v, {});
                      });
  CHECK(at::allclose(at::matmul(weights, values.squeeze(0).squeeze(0)), mixed.squeeze(0).squeeze(0), 1e-5, 1e-6));
}
