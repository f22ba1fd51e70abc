// The requests that the client and the load generator send.
#pragma once

#include <boost/beast/http.hpp>
#include <map>
#include <string>

#include "http/client.h"

namespace keel::http {

// JSON, where there is a body.
boost::beast::http::request<boost::beast::http::string_body> message(boost::beast::http::verb method, const Url& url,
                                                                     const std::string& body,
                                                                     const std::map<std::string, std::string>& headers);

}  // namespace keel::http
