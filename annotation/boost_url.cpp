// Boost.URL is compiled here, once: Debian's headers hold its sources, so that its library is not needed.
#include <boost/url/src.hpp>
