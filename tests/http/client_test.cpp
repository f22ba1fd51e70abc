#include "http/client.h"

#include "core/error.h"
#include "core/interrupt.h"
#include "http/answering_server.h"
#include "support/test_plain.h"

namespace keel::http {

using Catch::Matchers::ContainsSubstring;

TEST_CASE("http client: a server that keeps silent is left after the timeout, and at once when the user stops keel", "[http]") {
  const auto [listener, port] = test::listen_on_free_port();
  const Url url = parse_url("http://127.0.0.1:" + std::to_string(port) + "/x");
  CHECK_THROWS_AS(post(url, "{}", {}, 1), core::IoError);
  core::request_interrupt();
  CHECK_THROWS_AS(post(url, "{}", {}, 86400), core::Interrupted);
  core::clear_interrupt();
  ::close(listener);
}

TEST_CASE("http client: addresses are taken apart, and what is none is refused", "[http]") {
  const Url url = parse_url("http://judge.local:8000/v/");
  CHECK((url.host == "judge.local" && url.port == "8000" && url.path == "/v"));
  CHECK((parse_url("http://a").port == "80" && parse_url("http://a").path.empty()));
  for (const char* wrong :
       {"", "a:80", "ftp://a", "https://", "https://:443", "http://", "http://:80", "http://a:b", "http://a:123456", "http://a:65536",
        "http://a b/", "http://a:", "http://me@a", "http://me:word@a", "http://[::1]:80", "http://a:-1", "http://a:80x/y"})
    CHECK_THROWS_AS(parse_url(wrong), core::UsageError);
  CHECK((parse_url("http://a_b:0/x?key=1").host == "a_b" && parse_url("http://a/x?key=1").path == "/x?key=1"));
  CHECK_THROWS_WITH(parse_url("http://a:65536"), ContainsSubstring("has the port \"65536\""));
  CHECK_THROWS_WITH(parse_url("http://a:8x0/y"), ContainsSubstring("has the port \"8x0\""));
}

}  // namespace keel::http
