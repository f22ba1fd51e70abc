#include "http/client.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <boost/beast/version.hpp>
#include <boost/url/parse.hpp>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "core/error.h"
#include "core/interrupt.h"
#include "http/tls.h"

namespace keel::http {

namespace asio = boost::asio;
namespace beast = boost::beast;

Url parse_url(const std::string& url) {
  const bool tls = url.starts_with("https://");
  if (!tls && !url.starts_with("http://"))
    throw core::UsageError(fmt::format("\"{}\" must begin with http:// or https://, e.g. http://127.0.0.1:8000", url));
  if (url.find_first_of(" \t\r\n") != std::string::npos) throw core::UsageError(fmt::format("\"{}\" holds a blank", url));
  const auto parsed = boost::urls::parse_uri(url);
  if (!parsed)
    throw core::UsageError(fmt::format(
        "\"{}\" is no address: it must be http://HOST:PORT/PATH or https://HOST:PORT/PATH, with a number up to 65535 as PORT", url));
  if (parsed->has_userinfo()) throw core::UsageError(fmt::format("\"{}\": give no user or password, they would not be sent", url));
  if (parsed->host_type() == boost::urls::host_type::ipv6 || parsed->host_type() == boost::urls::host_type::ipvfuture)
    throw core::UsageError(fmt::format("\"{}\": give the host by its name or IPv4 address", url));
  Url parts{
      .host = std::string(parsed->encoded_host()), .port = tls ? "443" : "80", .path = std::string(parsed->encoded_target()), .tls = tls};
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

std::string text_of(const Url& url) {
  return fmt::format("{}://{}:{}{}", url.tls ? "https" : "http", url.host, url.port, url.path);
}

std::string request_text(const std::string& method, const Url& url, const std::string& body,
                         const std::map<std::string, std::string>& headers) {
  std::string text = fmt::format("{} {} HTTP/1.1\r\nHost: {}{}\r\nUser-Agent: keel\r\nConnection: close\r\n", method,
                                 url.path.empty() ? "/" : url.path, url.host, url.port == (url.tls ? "443" : "80") ? "" : ":" + url.port);
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

// A connection's operations, one after the other; what fails ends them with beast::system_error.
class Connection {
 public:
  Connection(asio::io_context& io, beast::tcp_stream& socket) : io_(io), socket_(socket) {}

  // Asynchronous: only then does the socket's timer cut off a silent server.
  template <class Start>
  void step(Start&& start) {
    beast::error_code failed;
    io_.restart();
    start([&](beast::error_code error, auto&&...) { failed = error; });
    while (!io_.stopped()) {
      io_.run_for(std::chrono::milliseconds(100));
      if (!core::interrupt_requested()) continue;
      socket_.cancel();
      io_.run();
      throw core::Interrupted("stopped while a server was asked");
    }
    if (failed) throw beast::system_error(failed);
  }

  void connect(const Url& url, int64_t seconds) {
    const auto addresses = asio::ip::tcp::resolver(io_).resolve(url.host, url.port);
    socket_.expires_after(std::chrono::seconds(seconds));
    step([&](auto done) { socket_.async_connect(addresses, done); });
  }

  template <class Stream>
  Answer exchange(Stream& stream, const std::string& request) {
    beast::flat_buffer buffer;
    beast::http::response_parser<beast::http::string_body> parser;
    parser.body_limit(16 << 20);
    step([&](auto done) { asio::async_write(stream, asio::buffer(request), done); });
    step([&](auto done) { beast::http::async_read(stream, buffer, parser, done); });
    beast::error_code ignored;
    socket_.socket().shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
    return {static_cast<int>(parser.get().result_int()), std::move(parser.get().body()),
            seconds_in(parser.get()[beast::http::field::retry_after])};
  }

 private:
  asio::io_context& io_;
  beast::tcp_stream& socket_;
};

// A certificate that is refused, and a server without TLS, stay what they are however often they are asked: UsageError, not IoError.
template <class Stream>
void shake_hands(Connection& connection, Stream& stream, const Url& url) {
  try {
    connection.step([&](auto done) { stream.async_handshake(asio::ssl::stream_base::client, done); });
  } catch (const beast::system_error& error) {
    const auto& code = error.code();
    if (const std::string problem = certificate_problem(stream.native_handle(), url.host); !problem.empty())
      throw core::UsageError(fmt::format("{}: {}", text_of(url), problem));
    if (code.category() == asio::error::get_ssl_category() && is_no_tls(static_cast<unsigned long>(code.value())))
      throw core::UsageError(fmt::format("{}: the server does not speak TLS on this port; give its address with http://", text_of(url)));
    if (code == asio::ssl::error::stream_truncated || code == asio::error::eof || code == asio::error::connection_reset)
      throw core::IoError(fmt::format("{}: the server closed the connection during the TLS handshake", text_of(url)));
    throw core::IoError(fmt::format("{}: no TLS handshake: {}", text_of(url), code.message()));
  }
}

Answer ask(const std::string& method, const Url& url, const std::string& body, const std::map<std::string, std::string>& headers,
           int64_t seconds) {
  const std::string request = request_text(method, url, body, headers);
  try {
    asio::io_context io;
    if (!url.tls) {
      beast::tcp_stream stream(io);
      Connection connection(io, stream);
      connection.connect(url, seconds);
      return connection.exchange(stream, request);
    }
    const auto trusting = trusting_context();
    SSL_CTX_up_ref(trusting.get());  // for asio's context, which gives it back
    asio::ssl::context context(trusting.get());
    beast::ssl_stream<beast::tcp_stream> stream(io, context);
    expect_host(stream.native_handle(), url.host);
    Connection connection(io, beast::get_lowest_layer(stream));
    connection.connect(url, seconds);
    shake_hands(connection, stream, url);
    return connection.exchange(stream, request);
  } catch (const beast::system_error& error) {
    throw core::IoError(fmt::format("{}: {}", text_of(url), error.code().message()));
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
