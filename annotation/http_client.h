// One HTTP request at a time over plain TCP.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace keel::annotation {

// "http://host[:port][/path]" in parts. UsageError for anything else; https needs a proxy in front.
struct HttpUrl {
  std::string host, port = "80", path;
};
HttpUrl parse_http_url(const std::string& url);

struct HttpReply {
  int status = 0;
  std::string body;  // at most 16 MiB
};

// POST of a JSON body, connection and answer within `seconds`. IoError when there is no answer: refused, cut off, too slow, too long.
HttpReply http_post(const HttpUrl& url, const std::string& body, const std::map<std::string, std::string>& headers, int64_t seconds);

}  // namespace keel::annotation
