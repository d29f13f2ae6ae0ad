/* The label tables that metrics.def refers to. */
#ifndef HF_BASE_METRICS_TABLES_H
#define HF_BASE_METRICS_TABLES_H

#include "server/base/deny.h"
#include "server/base/end.h"

#endif
