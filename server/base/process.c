#include "server/base/process.h"

#include <dirent.h>
#include <sys/resource.h>
#include <time.h>

static double seconds(clockid_t clock)
{
	struct timespec ts;
	clock_gettime(clock, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int put(struct buf *out, const char *name, const char *type, const char *help, double v)
{
	return buf_printf(out, "# HELP process_%s %s\n# TYPE process_%s %s\nprocess_%s %.15g\n",
	        name, help, name, type, name, v);
}

/* Virtual and resident bytes. */
static bool read_memory(double ret[static 2])
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/statm", "re");
	if (!f || fscanf(f, "%lf %lf", &ret[0], &ret[1]) != 2)
		return false;
	ret[0] *= (double)sysconf(_SC_PAGESIZE);
	ret[1] *= (double)sysconf(_SC_PAGESIZE);
	return true;
}

static bool read_open_fds(double *ret)
{
	DIR *dir = opendir("/proc/self/fd");
	if (!dir)
		return false;
	double n = -3; /* ".", ".." and the descriptor of dir itself */
	while (readdir(dir))
		n++;
	closedir(dir);
	*ret = n;
	return true;
}

/* Field 22 of /proc/self/stat counts clock ticks since boot; the second field, the program's name,
 * may hold anything, so the fields are counted from its closing parenthesis. */
static bool read_start_time(double *ret)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/stat", "re");
	char line[1024];
	if (!f || !fgets(line, sizeof(line), f))
		return false;
	const char *p = strrchr(line, ')');
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	if (!p)
		return false;
	double since_boot = strtod(p, NULL) / (double)sysconf(_SC_CLK_TCK);
	*ret = seconds(CLOCK_REALTIME) - seconds(CLOCK_BOOTTIME) + since_boot;
	return true;
}

int process_render(struct buf *out)
{
	double memory[2], fds, start;
	struct rlimit limit;
	int r = put(out, "cpu_seconds_total", "counter", "User and system CPU time",
	        seconds(CLOCK_PROCESS_CPUTIME_ID));
	if (r == 0 && read_memory(memory)) {
		r = put(out, "virtual_memory_bytes", "gauge", "Virtual memory", memory[0]);
		if (r == 0)
			r = put(out, "resident_memory_bytes", "gauge", "Resident memory",
			        memory[1]);
	}
	if (r == 0 && read_open_fds(&fds))
		r = put(out, "open_fds", "gauge", "Open file descriptors", fds);
	if (r == 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0)
		r = put(out, "max_fds", "gauge", "Most file descriptors that can be open",
		        (double)limit.rlim_cur);
	if (r == 0 && read_start_time(&start))
		r = put(out, "start_time_seconds", "gauge",
		        "When the process started, seconds since 1970", start);
	return r;
}
