// An HTTP server inside a test, for keel's requests.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <nlohmann/json.hpp>
#include <thread>
#include <tuple>
#include <utility>

#include "support/test_plain.h"

namespace keel::test {

// A socket that listens on a free port of this machine, and the port. The kernel accepts connections; nothing answers by itself.
inline std::pair<int, int> listen_on_free_port() {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  REQUIRE(::bind(listener, reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(::listen(listener, 64) == 0);
  REQUIRE(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  return {listener, ntohs(address.sin_port)};
}

// A server on a free port of this machine that takes one request a connection and replies with answer(body).
class Server {
 public:
  explicit Server(std::function<std::string(const std::string&)> answer) : answer_(std::move(answer)) {
    std::tie(listener_, port_) = listen_on_free_port();
    thread_ = std::thread([this] { serve(); });
  }
  ~Server() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  int requests() const { return requests_; }

 private:
  void serve() {
    for (int connection; (connection = ::accept(listener_, nullptr, nullptr)) >= 0;) {
      std::string request;
      char buffer[4096];
      while (true) {
        const ssize_t got = ::read(connection, buffer, sizeof buffer);
        if (got <= 0) break;
        request.append(buffer, static_cast<size_t>(got));
        const size_t head = request.find("\r\n\r\n"), length = request.find("Content-Length: ");
        if (head != std::string::npos && request.size() >= head + 4 + std::stoul(request.substr(length + 16))) break;
      }
      if (const size_t head = request.find("\r\n\r\n"); head != std::string::npos) {  // else the client was killed
        ++requests_;
        const std::string reply = answer_(request.substr(head + 4));
        [[maybe_unused]] const ssize_t sent = ::write(connection, reply.data(), reply.size());
      }
      ::close(connection);
    }
  }

  std::function<std::string(const std::string&)> answer_;
  int listener_ = -1, port_ = 0;
  std::atomic<int> requests_{0};
  std::thread thread_;
};

inline std::string http_reply(int status, const std::string& body) {
  return "HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\nConnection: close\r\n\r\n" + body;
}

// The reply of an OpenAI server whose model writes `text`.
inline std::string completion(const std::string& text) {
  return http_reply(200, nlohmann::json{{"choices", {{{"message", {{"role", "assistant"}, {"content", text}}}}}}}.dump());
}

}  // namespace keel::test
