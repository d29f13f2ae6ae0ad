/*
 * The home folder: `holdfast init` makes it, `holdfast serve` locks it. Everything in it is written
 * whole or not at all and never overwritten, so that init may be killed at any point and run again.
 * Main thread, before any other starts.
 */
#ifndef HF_SERVER_INIT_H
#define HF_SERVER_INIT_H

#include "server/config.h"

#define INIT_ERROR_LEN 256

/*
 * Makes what is missing of c->home: the folder itself (0700), holdfast.ini, the private CA and the
 * server's certificate, the master key, the owner's token and connection string. Secrets whose
 * setting points elsewhere are the operator's and are not made. 0, or an ERR_ code with one line in
 * error: ERR_DENIED (the home is another user's), ERR_INVALID, ERR_IO, ERR_CRYPTO.
 */
int init_home(const struct config *c, char error[static INIT_ERROR_LEN]);

/*
 * Takes the home for this process: a descriptor to keep open for as long as the home is used (the
 * kernel lets go of it when the process ends, however it ends). ERR_EXISTS where another process
 * has it, ERR_DENIED, ERR_NOT_FOUND or ERR_IO; one line in error.
 */
int home_lock(const char *home, int *ret_fd, char error[static INIT_ERROR_LEN]);

#endif
