/* What lists in order of time have in common: their bounds, and where a page ended. Any thread. */
#ifndef HF_API_WINDOW_H
#define HF_API_WINDOW_H

#include "server/api/call.h"

/* The parameters from, to and order; what is not given stays as it is. False: 400 is answered. */
bool api_window_read(
        struct api_call *c, int64_t *ret_from_us, int64_t *ret_to_us, bool *ret_ascending);

/* A cursor's position: a time and a number, big-endian. */
#define API_WINDOW_POSITION_LEN 16
void api_window_put(uint8_t to[static API_WINDOW_POSITION_LEN], int64_t us, int64_t number);
void api_window_get(
        const uint8_t from[static API_WINDOW_POSITION_LEN], int64_t *ret_us, int64_t *ret_number);

#endif
