/* One header of an HTTP request, as the transport has read it: a view. */
#ifndef HF_BASE_HTTP_HEADER_H
#define HF_BASE_HTTP_HEADER_H

#include "server/base/slice.h"

struct http_header {
	struct slice name, value; /* name as sent; compare without case */
};

#endif
