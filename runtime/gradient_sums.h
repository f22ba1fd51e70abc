// Gradients of several micro-batches, added up in place.
#pragma once

#include <ATen/core/Tensor.h>

#include <unordered_map>
#include <vector>

namespace keel::runtime {

// The sums of one worker, which are undefined until a gradient comes. A backward pass that knows them (GradientPlace) adds its gradients
// there and returns none, so that it needs no memory for them; what other passes return is added here.
class GradientSums {
 public:
  explicit GradientSums(const std::vector<at::Tensor>& weights);

  void add(const std::vector<at::Tensor>& gradients);  // in the order of the weights; undefined: none
  at::Tensor take(size_t weight);                      // its sum, which is undefined from then on

  // While it lives, backward passes on this thread find these sums.
  class Open {
   public:
    explicit Open(GradientSums& sums);
    Open(const Open&) = delete;
    Open& operator=(const Open&) = delete;
    ~Open();

   private:
    GradientSums* before_;
  };

 private:
  friend struct GradientPlace;
  struct Sum {
    at::Tensor tensor;
    bool own = false;  // its storage is nobody else's
  };
  std::vector<Sum> sums_;
  struct Place {
    size_t index;
    int64_t numbers;
  };
  std::unordered_map<const void*, Place> places_;  // by where the weight begins
};

// Where the gradient of a weight goes: `to` has its shape, and holds numbers that are to be added to, or none yet. nullptr: no sums are
// open on this thread, or it has none there.
struct GradientPlace {
  float* to = nullptr;
  bool add = false;

  static GradientPlace of(const at::Tensor& weight);
};

}  // namespace keel::runtime
