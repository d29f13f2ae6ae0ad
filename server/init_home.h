/* What init.c and init_home.c share. */
#ifndef HF_SERVER_INIT_HOME_H
#define HF_SERVER_INIT_HOME_H

#include "server/base/cleanup.h"

/* Writes what went wrong to error (INIT_ERROR_LEN bytes) and returns err. */
int init_fail(char *error, int err, const char *fmt, ...) HF_PRINTF(3, 4);
/* The same of errno: "what path: why". */
int init_fail_errno(char *error, const char *what, const char *path);

/* Makes the folder where it is not there, closes it to others, opens it. Refused are another
 * user's, and one that is plainly not a hub's alone. */
int init_home_open(const char *path, int *ret, char *error);

#endif
