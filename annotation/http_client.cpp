#include "annotation/http_client.h"

#include <fmt/format.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/version.hpp>
#include <chrono>

#include "core/error.h"
#include "core/interrupt.h"

namespace keel::annotation {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;

HttpUrl parse_http_url(const std::string& url) {
  constexpr std::string_view kScheme = "http://";
  if (!url.starts_with(kScheme)) throw core::UsageError(fmt::format("\"{}\" must begin with http://, e.g. http://127.0.0.1:8000", url));
  HttpUrl parts;
  const std::string rest = url.substr(kScheme.size());
  const size_t slash = rest.find('/');
  std::string authority = rest.substr(0, slash);
  if (slash != std::string::npos) parts.path = rest.substr(slash);
  while (parts.path.ends_with('/'))
    parts.path.pop_back();
  if (authority.starts_with('[')) throw core::UsageError(fmt::format("\"{}\": give the host by its name or IPv4 address", url));
  if (const size_t colon = authority.rfind(':'); colon != std::string::npos) {
    parts.port = authority.substr(colon + 1);
    authority.resize(colon);
    if (parts.port.empty() || parts.port.size() > 5 || parts.port.find_first_not_of("0123456789") != std::string::npos ||
        std::stoi(parts.port) > 65535)
      throw core::UsageError(fmt::format("\"{}\" has the port \"{}\", which must be a number up to 65535", url, parts.port));
  }
  if (url.find_first_of(" \t\r\n") != std::string::npos) throw core::UsageError(fmt::format("\"{}\" holds a blank", url));
  if (authority.empty()) throw core::UsageError(fmt::format("\"{}\" names no host", url));
  parts.host = authority;
  return parts;
}

HttpReply http_post(const HttpUrl& url, const std::string& body, const std::map<std::string, std::string>& headers, int64_t seconds) {
  try {
    asio::io_context io;
    asio::ip::tcp::resolver resolver(io);
    beast::tcp_stream stream(io);
    http::request<http::string_body> request{http::verb::post, url.path, 11};
    request.set(http::field::host, url.port == "80" ? url.host : url.host + ":" + url.port);
    request.set(http::field::user_agent, "keel");
    request.set(http::field::content_type, "application/json");
    for (const auto& [name, value] : headers)
      request.set(name, value);
    request.body() = body;
    request.prepare_payload();

    beast::flat_buffer buffer;
    http::response_parser<http::string_body> parser;
    parser.body_limit(16 << 20);
    beast::error_code failed;
    // Asynchronous, because only then does the stream's timer cut off a server that keeps silent.
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
    step([&](auto done) { http::async_write(stream, request, done); });
    step([&](auto done) { http::async_read(stream, buffer, parser, done); });
    if (failed) throw beast::system_error(failed);
    stream.socket().shutdown(asio::ip::tcp::socket::shutdown_both, failed);
    return {static_cast<int>(parser.get().result_int()), std::move(parser.get().body())};
  } catch (const beast::system_error& error) {
    throw core::IoError(fmt::format("http://{}:{}{}: {}", url.host, url.port, url.path, error.code().message()));
  }
}

}  // namespace keel::annotation
