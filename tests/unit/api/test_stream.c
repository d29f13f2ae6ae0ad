/* Stored messages as lines and as events. */
#include "tests/unit/api/hub.h"
