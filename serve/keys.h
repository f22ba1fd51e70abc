// API keys: who may ask.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "http/server.h"

namespace keel::serve {

class Keys {
 public:
  Keys() = default;  // none: everybody may ask
  // One key a line; blank lines and lines that begin with # are left out. UsageError for a file that cannot be read or holds no key, a key
  // of fewer than 16 characters, and one with blanks or characters that are not printable ASCII.
  explicit Keys(const std::filesystem::path& file);

  bool empty() const { return digests_.empty(); }

  // Whether the request holds one of the keys: "Authorization: Bearer KEY", "X-Api-Key: KEY", or Basic with the key as password, which is
  // what a key inside a URL becomes. One that a gateway adds beside it does no harm. Digests are compared, in a time that does not depend
  // on them.
  bool admit(const http::Request& request) const;

 private:
  std::vector<std::string> digests_;  // SHA-256
};

}  // namespace keel::serve
