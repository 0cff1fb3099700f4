/* Put before libc with LD_PRELOAD: a disk that fails, or tells what it was asked.
 *
 * FAULTY_DISK_BELOW   only this file or folder and what is below it are concerned
 * FAULTY_DISK_CALL    the call that fails: write, read, sync or rename
 * FAULTY_DISK_ERRNO   how it fails
 * FAULTY_DISK_SPARE   how many such calls succeed before; left out, none
 * FAULTY_DISK_TIMES   how many fail then; left out, all
 * FAULTY_DISK_DELAY   milliseconds that a write takes more
 * FAULTY_DISK_LOG     file to tell of each write, sync and rename, a line when it has ended and for a sync when it begins:
 *                     "start OFFSET LENGTH PATH" when a write is delayed,
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

static atomic_long struck;

/* Whether a path is the one that is concerned, or below it. */
static int concerns(const char *path)
{
	const char *below = getenv("FAULTY_DISK_BELOW");
	size_t length = below == NULL ? 0 : strlen(below);

	return below != NULL && strncmp(path, below, length) == 0 && (path[length] == 0 || path[length] == '/');
}

/* The path of a file that is concerned; 0 for others. */
static int path_of(int fd, char *path, size_t size)
{
	char link[64];
	ssize_t length;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	length = readlink(link, path, size - 1);
	if (length < 0)
		return 0;
	path[length] = 0;
	return concerns(path);
}

static long number(const char *name, long otherwise)
{
	const char *text = getenv(name);

	return text == NULL ? otherwise : atol(text);
}

static int is_failing(const char *call)
{
	const char *failing = getenv("FAULTY_DISK_CALL");

	return failing != NULL && strcmp(failing, call) == 0;
}

/* Whether it is the turn of a call to fail; errno is set then. */
static int takes_its_turn(void)
{
	long spare = number("FAULTY_DISK_SPARE", 0), turn;

	turn = atomic_fetch_add(&struck, 1);
	if (turn < spare || turn >= spare + number("FAULTY_DISK_TIMES", 1L << 40))
		return 0;
	errno = (int)number("FAULTY_DISK_ERRNO", EIO);
	return 1;
}

/* Whether a call is to fail; errno is set then. */
static int fails(const char *call, int fd)
{
	char path[4096];

	return is_failing(call) && path_of(fd, path, sizeof path) && takes_its_turn();
}

static void tell_of(const char *what, const char *path)
{
	static atomic_int log_fd = -1;
	const char *log = getenv("FAULTY_DISK_LOG");
	char line[8400];
	int length, saved = errno;

	if (log != NULL) {
		if (log_fd < 0)
			log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
		length = snprintf(line, sizeof line, "%s %s\n", what, path);
		/* One call, so that lines of several threads do not mix. */
		syscall(SYS_write, log_fd, line, (size_t)length);
	}
	errno = saved;
}

static void tell(const char *what, int fd)
{
	char path[4096];

	if (path_of(fd, path, sizeof path))
		tell_of(what, path);
}

static void tell_write(const char *what, int fd, off64_t offset, ssize_t length)
{
	char told[96];

	if (length <= 0)
		return;
	snprintf(told, sizeof told, "%s %lld %lld", what, (long long)offset, (long long)length);
	tell(told, fd);
}

/* Lets a write take its time. */
static void delay(int fd, off64_t offset, size_t length)
{
	long milliseconds = number("FAULTY_DISK_DELAY", 0);
	struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
	char path[4096];

	if (milliseconds > 0 && path_of(fd, path, sizeof path)) {
		tell_write("start", fd, offset, (ssize_t)length);
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
	tell_write("write", fd, offset, written);
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
		tell_write("write", fd, syscall(SYS_lseek, fd, 0, SEEK_CUR) - written, written);
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

	if ((concerns(from) || concerns(to)) && is_failing("rename") && takes_its_turn())
		return -1;
	if (syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0) != 0)
		return -1;
	if (concerns(from) || concerns(to)) {
		snprintf(paths, sizeof paths, "%s %s", from, to);
		tell_of("rename", paths);
	}
	return 0;
}

static int synced(int fd, long call)
{
	int result;

	if (fails("sync", fd))
		return -1;
	tell("begin", fd);
	result = (int)syscall(call, fd);
	if (result == 0)
		tell("sync", fd);
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
