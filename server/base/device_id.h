/* Which device ids there can be (CONTRACT section 5). Any thread. */
#ifndef HF_BASE_DEVICE_ID_H
#define HF_BASE_DEVICE_ID_H

#include "server/base/slice.h"

/* 1 to 128 of A-Za-z0-9-:._%*?!(),=@$' and not "." or "..". */
bool device_id_valid(struct slice id);
/* The same, or two of them with a slash between: a module's with its device. */
bool device_or_module_id_valid(struct slice id);

#endif
