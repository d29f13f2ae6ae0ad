/* The settings file: any bytes are settings or one line of error. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "server/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void print_all(const struct config *c)
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	if (f) {
		config_print(c, f);
		fclose(f);
	}
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	char path[32], error[CONFIG_ERROR_LEN] = "";
	if (fd < 0)
		fd = memfd_create("holdfast.ini", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	struct config *c = NULL;
	int r = config_load("/home", path, &c, error);
	assert((r == 0) == (c != NULL));
	assert((r == 0) == (error[0] == '\0'));
	assert(!strchr(error, '\n'));
	if (c)
		print_all(c);
	config_unref(c);
	return 0;
}
