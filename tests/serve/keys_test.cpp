#include "serve/keys.h"

#include "core/error.h"
#include "support/test_plain.h"

namespace keel::serve {

using Catch::Matchers::ContainsSubstring;

TEST_CASE("keys: Bearer, X-Api-Key and the password of Basic; nothing else", "[serve]") {
  const test::TemporaryFolder folder;
  test::write_text(folder / "keys", "# of the trainer\nabcdefgh-12345678\n\n  qwertyuiopasdfgh  \n");
  const Keys keys(folder / "keys");
  const auto admits = [&](const std::string& authorization, const std::string& api_key = {}) {
    http::Request request;
    request.authorization = authorization, request.api_key = api_key;
    return keys.admit(request);
  };
  for (const char* good : {"Bearer abcdefgh-12345678", "bearer qwertyuiopasdfgh", "BEARER   abcdefgh-12345678",
                           "Basic cm06YWJjZGVmZ2gtMTIzNDU2Nzg=",  // rm:abcdefgh-12345678
                           "Basic OnF3ZXJ0eXVpb3Bhc2RmZ2g="}) {   // :qwertyuiopasdfgh
    INFO(good);
    CHECK(admits(good));
  }
  CHECK(admits("", "abcdefgh-12345678"));
  for (const char* bad : {"", "Bearer", "Bearer ", "Bearer abcdefgh-1234567", "Bearer abcdefgh-123456789", "abcdefgh-12345678", "Basic",
                          "Basic x", "Basic ####", "Basic YWJjZGVmZ2gtMTIzNDU2Nzg=",  // a key without a colon
                          "Basic YWJjZGVmZ2gtMTIzNDU2Nzg6eA==",                       // as the user
                          "Digest abcdefgh-12345678", "Bearer # of the trainer"}) {
    INFO(bad);
    CHECK_FALSE(admits(bad));
  }
  CHECK(admits("Bearer abcdefgh-12345678", "wrong"));  // of several any right one will do: a gateway may add its own
  CHECK(admits("Bearer wrong", "abcdefgh-12345678"));
  CHECK_FALSE(admits("Bearer wrong", "wrong"));
  CHECK(Keys().admit({}));
}

TEST_CASE("keys: a file without usable keys is refused by line", "[serve]") {
  const test::TemporaryFolder folder;
  CHECK_THROWS_AS(Keys(folder / "none"), core::Error);
  for (const auto& [text, message] :
       std::vector<std::pair<std::string, std::string>>{{"# nothing\n\n", "holds no key"},
                                                        {"abcdefgh-12345678\nshort\n", ":2: a key needs at least 16"},
                                                        {"two words in one key\n", ":1:"},
                                                        {"k\xc3\xb6nig-k\xc3\xb6nig-k\xc3\xb6nig\n", ":1:"}}) {
    test::write_text(folder / "keys", text);
    CHECK_THROWS_WITH(Keys(folder / "keys"), ContainsSubstring(message));
  }
}

}  // namespace keel::serve
