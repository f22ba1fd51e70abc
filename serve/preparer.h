// One thread for what is too long for the server's: parsing and tokenising, a slice of one request after a slice of another, and the
// writing of replies, which goes before.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace keel::serve {

class Preparer {
 public:
  Preparer();
  ~Preparer();
  Preparer(const Preparer&) = delete;
  Preparer& operator=(const Preparer&) = delete;

  // `slice` returns whether there is more to do; its turn then comes again after the others.
  void add(std::function<bool()> slice);
  void add_first(std::function<void()> work);  // before all slices, after earlier work of this kind
  void stop();                                 // what still waits is dropped

 private:
  void run();
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<bool()>> waiting_;
  std::deque<std::function<void()>> first_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace keel::serve
