// One HTTP request at a time, over TCP or TLS.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace keel::http {

// "http://host[:port][/path]" or "https://..." in parts. UsageError for anything else.
struct Url {
  std::string host, port = "80", path;
  bool tls = false;  // https; the port is then 443 where none is given
};
Url parse_url(const std::string& url);
std::string text_of(const Url& url);

struct Answer {
  int status = 0;
  std::string body;         // at most 16 MiB
  int64_t retry_after = 0;  // seconds that the server asks to wait (Retry-After); 0: it does not, or names a date
};

// POST of a JSON body, or GET; connection, TLS handshake and answer within `seconds`. IoError when there is no answer: refused, cut off,
// too slow, too long. UsageError, with the remedy, where a server's certificate is refused (tls.h says whom keel trusts) or its port has no
// TLS. Interrupted on SIGTERM.
Answer get(const Url& url, const std::map<std::string, std::string>& headers, int64_t seconds);
Answer post(const Url& url, const std::string& body, const std::map<std::string, std::string>& headers, int64_t seconds);

// The bytes of a request on a connection of its own; the body of a POST is JSON. Headers must hold no line break.
std::string request_text(const std::string& method, const Url& url, const std::string& body,
                         const std::map<std::string, std::string>& headers);

// Waits before another attempt, `attempt` counted from 1: 0.4 s, 0.8 s ... 12.8 s, and not less than the server asks for, up to a minute.
// Returns early on SIGTERM.
void wait_before_retry(int64_t attempt, int64_t retry_after = 0);

// The bearer token that an environment variable holds, as headers; none where it is not set. UsageError, naming the variable, where it
// holds characters that no key has.
std::map<std::string, std::string> bearer_headers(const char* variable);

}  // namespace keel::http
