// Compiles Boost.URL here, once: Debian's headers hold its sources, so its library is not needed.
#include <boost/url/src.hpp>
