/* Simulates a disk that fails, or logs its calls. Loaded before libc with LD_PRELOAD.
 *
 * FAULTY_DISK_BELOW   file or folder to act on; other paths are not affected
 * FAULTY_DISK_CALL    the call that fails: write, read, sync or rename
 * FAULTY_DISK_ERRNO   its errno
 * FAULTY_DISK_SPARE   number of such calls that succeed first; default: 0
 * FAULTY_DISK_TIMES   number of calls that fail then; default: all
 * FAULTY_DISK_DELAY   milliseconds to delay each write
 * FAULTY_DISK_LOG     log file: a line after each write, sync and rename, and a line before each sync and delayed write:
 *                     "start OFFSET LENGTH PATH" before a delayed write,
 *                     "write OFFSET LENGTH PATH", "begin PATH", "sync PATH", "rename FROM TO"
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static atomic_long matching_calls;

/* Whether a path is FAULTY_DISK_BELOW, or below it. */
static int is_affected(const char *path)
{
	const char *below = getenv("FAULTY_DISK_BELOW");
	size_t length = below == NULL ? 0 : strlen(below);

	return below != NULL && strncmp(path, below, length) == 0 && (path[length] == 0 || path[length] == '/');
}

/* Reads the path of an open file. Returns 0 if the path is not affected. */
static int path_of(int fd, char *path, size_t size)
{
	char link[64];
	ssize_t length;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	length = readlink(link, path, size - 1);
	if (length < 0)
		return 0;
	path[length] = 0;
	return is_affected(path);
}

static long number(const char *name, long fallback)
{
	const char *text = getenv(name);

	return text == NULL ? fallback : atol(text);
}

static int is_failing(const char *call)
{
	const char *failing = getenv("FAULTY_DISK_CALL");

	return failing != NULL && strcmp(failing, call) == 0;
}

/* Counts a call of the failing kind. Returns whether it fails; sets errno then. */
static int fails_now(void)
{
	long spare = number("FAULTY_DISK_SPARE", 0), turn;

	turn = atomic_fetch_add(&matching_calls, 1);
	if (turn < spare || turn >= spare + number("FAULTY_DISK_TIMES", 1L << 40))
		return 0;
	errno = (int)number("FAULTY_DISK_ERRNO", EIO);
	return 1;
}

/* Whether a call fails; sets errno then. */
static int fails(const char *call, int fd)
{
	char path[4096];

	return is_failing(call) && path_of(fd, path, sizeof path) && fails_now();
}

static void log_line(const char *what, const char *path)
{
	static atomic_int log_fd = -1;
	const char *log = getenv("FAULTY_DISK_LOG");
	char line[8400];
	int length, saved = errno;

	if (log != NULL) {
		if (log_fd < 0)
			log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
		length = snprintf(line, sizeof line, "%s %s\n", what, path);
		/* A single call, so that lines of several threads do not mix. */
		syscall(SYS_write, log_fd, line, (size_t)length);
	}
	errno = saved;
}

static void log_event(const char *what, int fd)
{
	char path[4096];

	if (path_of(fd, path, sizeof path))
		log_line(what, path);
}

static void log_write(const char *what, int fd, off64_t offset, ssize_t length)
{
	char event[96];

	if (length <= 0)
		return;
	snprintf(event, sizeof event, "%s %lld %lld", what, (long long)offset, (long long)length);
	log_event(event, fd);
}

/* Delays a write. */
static void delay(int fd, off64_t offset, size_t length)
{
	long milliseconds = number("FAULTY_DISK_DELAY", 0);
	struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
	char path[4096];

	if (milliseconds > 0 && path_of(fd, path, sizeof path)) {
		log_write("start", fd, offset, (ssize_t)length);
		nanosleep(&time, NULL);
	}
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset)
{
	ssize_t written;

	if (fails("write", fd))
		return -1;
	delay(fd, offset, length);
	written = syscall(SYS_pwrite64, fd, bytes, length, offset);
	log_write("write", fd, offset, written);
	return written;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
	return pwrite64(fd, bytes, length, offset);
}

ssize_t write(int fd, const void *bytes, size_t length)
{
	ssize_t written;

	if (fails("write", fd))
		return -1;
	written = syscall(SYS_write, fd, bytes, length);
	if (written > 0)
		log_write("write", fd, syscall(SYS_lseek, fd, 0, SEEK_CUR) - written, written);
	return written;
}

ssize_t pread64(int fd, void *bytes, size_t length, off64_t offset)
{
	return fails("read", fd) ? -1 : syscall(SYS_pread64, fd, bytes, length, offset);
}

ssize_t pread(int fd, void *bytes, size_t length, off_t offset)
{
	return pread64(fd, bytes, length, offset);
}

ssize_t read(int fd, void *bytes, size_t length)
{
	return fails("read", fd) ? -1 : syscall(SYS_read, fd, bytes, length);
}

int rename(const char *from, const char *to)
{
	char paths[8300];

	if ((is_affected(from) || is_affected(to)) && is_failing("rename") && fails_now())
		return -1;
	if (syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0) != 0)
		return -1;
	if (is_affected(from) || is_affected(to)) {
		snprintf(paths, sizeof paths, "%s %s", from, to);
		log_line("rename", paths);
	}
	return 0;
}

static int synced(int fd, long call)
{
	int result;

	if (fails("sync", fd))
		return -1;
	log_event("begin", fd);
	result = (int)syscall(call, fd);
	if (result == 0)
		log_event("sync", fd);
	return result;
}

int fsync(int fd)
{
	return synced(fd, SYS_fsync);
}

int fdatasync(int fd)
{
	return synced(fd, SYS_fdatasync);
}
