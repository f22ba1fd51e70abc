#include "http/client.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/version.hpp>
#include <boost/url/parse.hpp>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "core/error.h"
#include "core/interrupt.h"

namespace keel::http {

namespace asio = boost::asio;
namespace beast = boost::beast;

Url parse_url(const std::string& url) {
  if (!url.starts_with("http://")) throw core::UsageError(fmt::format("\"{}\" must begin with http://, e.g. http://127.0.0.1:8000", url));
  if (url.find_first_of(" \t\r\n") != std::string::npos) throw core::UsageError(fmt::format("\"{}\" holds a blank", url));
  const auto parsed = boost::urls::parse_uri(url);
  if (!parsed)
    throw core::UsageError(fmt::format("\"{}\" is no address: it must be http://HOST:PORT/PATH, with a number up to 65535 as PORT", url));
  if (parsed->has_userinfo()) throw core::UsageError(fmt::format("\"{}\": give no user or password, they would not be sent", url));
  if (parsed->host_type() == boost::urls::host_type::ipv6 || parsed->host_type() == boost::urls::host_type::ipvfuture)
    throw core::UsageError(fmt::format("\"{}\": give the host by its name or IPv4 address", url));
  Url parts{.host = std::string(parsed->encoded_host()), .path = std::string(parsed->encoded_target())};
  if (parsed->has_port()) {
    // Boost 1.81 ends a port at its last digit, begins the path there, and lets its number overflow.
    const size_t rest = parts.path.starts_with('/') ? 0 : parts.path.find('/');
    parts.port = std::string(parsed->port()) + parts.path.substr(0, rest);
    uint16_t number = 0;
    const auto [end, error] = std::from_chars(parts.port.data(), parts.port.data() + parts.port.size(), number);
    if (error != std::errc() || *end != '\0')
      throw core::UsageError(fmt::format("\"{}\" has the port \"{}\", which must be a number up to 65535", url, parts.port));
  }
  if (parts.host.empty()) throw core::UsageError(fmt::format("\"{}\" names no host", url));
  while (parts.path.ends_with('/'))
    parts.path.pop_back();
  return parts;
}

std::string request_text(const std::string& method, const Url& url, const std::string& body,
                         const std::map<std::string, std::string>& headers) {
  std::string text = fmt::format("{} {} HTTP/1.1\r\nHost: {}{}\r\nUser-Agent: keel\r\nConnection: close\r\n", method,
                                 url.path.empty() ? "/" : url.path, url.host, url.port == "80" ? "" : ":" + url.port);
  for (const auto& [name, value] : headers)
    text += fmt::format("{}: {}\r\n", name, value);
  if (method == "POST") text += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n", body.size());
  return text + "\r\n" + body;
}

namespace {

// The whole seconds of a Retry-After; 0 for a date, and for none.
int64_t seconds_in(std::string_view retry_after) {
  int64_t seconds = 0;
  const auto [end, error] = std::from_chars(retry_after.data(), retry_after.data() + retry_after.size(), seconds);
  return error == std::errc() && end == retry_after.data() + retry_after.size() && seconds > 0 ? seconds : 0;
}

Answer ask(const std::string& method, const Url& url, const std::string& body, const std::map<std::string, std::string>& headers,
           int64_t seconds) {
  try {
    asio::io_context io;
    asio::ip::tcp::resolver resolver(io);
    beast::tcp_stream stream(io);
    const std::string request = request_text(method, url, body, headers);
    beast::flat_buffer buffer;
    beast::http::response_parser<beast::http::string_body> parser;
    parser.body_limit(16 << 20);
    beast::error_code failed;
    // Asynchronous: only then does the stream's timer cut off a silent server.
    const auto step = [&](auto&& start) {
      if (failed) return;
      io.restart();
      start([&](beast::error_code error, auto&&...) { failed = error; });
      while (!io.stopped()) {
        io.run_for(std::chrono::milliseconds(100));
        if (!core::interrupt_requested()) continue;
        stream.cancel();
        io.run();
        throw core::Interrupted("stopped while a server was asked");
      }
    };
    const auto addresses = resolver.resolve(url.host, url.port);
    stream.expires_after(std::chrono::seconds(seconds));
    step([&](auto done) { stream.async_connect(addresses, done); });
    step([&](auto done) { asio::async_write(stream, asio::buffer(request), done); });
    step([&](auto done) { beast::http::async_read(stream, buffer, parser, done); });
    if (failed) throw beast::system_error(failed);
    stream.socket().shutdown(asio::ip::tcp::socket::shutdown_both, failed);
    return {static_cast<int>(parser.get().result_int()), std::move(parser.get().body()),
            seconds_in(parser.get()[beast::http::field::retry_after])};
  } catch (const beast::system_error& error) {
    throw core::IoError(fmt::format("http://{}:{}{}: {}", url.host, url.port, url.path, error.code().message()));
  }
}

}  // namespace

Answer get(const Url& url, const std::map<std::string, std::string>& headers, int64_t seconds) {
  return ask("GET", url, {}, headers, seconds);
}

Answer post(const Url& url, const std::string& body, const std::map<std::string, std::string>& headers, int64_t seconds) {
  return ask("POST", url, body, headers, seconds);
}

void wait_before_retry(int64_t attempt, int64_t retry_after) {
  constexpr int64_t kLongest = 60;
  const std::chrono::milliseconds own(200 << std::min<int64_t>(attempt, 6)), asked(1000 * std::min(retry_after, kLongest));
  const auto end = std::chrono::steady_clock::now() + std::max(own, asked);
  while (std::chrono::steady_clock::now() < end && !core::interrupt_requested())
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
}

std::map<std::string, std::string> bearer_headers(const char* variable) {
  const char* value = std::getenv(variable);
  const std::string token = value == nullptr ? "" : value;
  if (token.empty()) return {};
  if (std::any_of(token.begin(), token.end(), [](char c) { return c < ' ' || c > '~'; }))
    throw core::UsageError(fmt::format("{} holds a line break or another character that no key has; set it again", variable));
  return {{"Authorization", "Bearer " + token}};
}

}  // namespace keel::http
