/* Put before libc with LD_PRELOAD: a disk that fails, or tells what it was asked.
 *
 * FAULTY_DISK_BELOW   only files below this folder are concerned
 * FAULTY_DISK_CALL    the call that fails: write, read or sync
 * FAULTY_DISK_ERRNO   how it fails
 * FAULTY_DISK_SPARE   how many such calls succeed before; left out, none
 * FAULTY_DISK_TIMES   how many fail then; left out, all
 * FAULTY_DISK_LOG     file to tell of each write and each sync, a line when it has ended and for a sync when it begins:
 *                     "write OFFSET LENGTH PATH", "begin PATH", "sync PATH"
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
#include <unistd.h>

static atomic_long struck;

/* The path of a file that is concerned; 0 for others. */
static int path_of(int fd, char *path, size_t size)
{
	const char *below = getenv("FAULTY_DISK_BELOW");
	char link[64];
	ssize_t length;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	length = readlink(link, path, size - 1);
	if (below == NULL || length < 0)
		return 0;
	path[length] = 0;
	return strncmp(path, below, strlen(below)) == 0;
}

static long number(const char *name, long otherwise)
{
	const char *text = getenv(name);

	return text == NULL ? otherwise : atol(text);
}

/* Whether a call is to fail; errno is set then. */
static int fails(const char *call, int fd)
{
	const char *failing = getenv("FAULTY_DISK_CALL");
	char path[4096];
	long spare = number("FAULTY_DISK_SPARE", 0), turn;

	if (failing == NULL || strcmp(failing, call) != 0 || !path_of(fd, path, sizeof path))
		return 0;
	turn = atomic_fetch_add(&struck, 1);
	if (turn < spare || turn >= spare + number("FAULTY_DISK_TIMES", 1L << 40))
		return 0;
	errno = (int)number("FAULTY_DISK_ERRNO", EIO);
	return 1;
}

static void tell(const char *what, int fd)
{
	static atomic_int log_fd = -1;
	const char *log = getenv("FAULTY_DISK_LOG");
	char path[4096], line[4400];
	int length, saved = errno;

	if (log != NULL && path_of(fd, path, sizeof path)) {
		if (log_fd < 0)
			log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
		length = snprintf(line, sizeof line, "%s %s\n", what, path);
		/* One call, so that lines of several threads do not mix. */
		syscall(SYS_write, log_fd, line, (size_t)length);
	}
	errno = saved;
}

static void tell_write(int fd, off64_t offset, ssize_t length)
{
	char what[96];

	if (length <= 0)
		return;
	snprintf(what, sizeof what, "write %lld %lld", (long long)offset, (long long)length);
	tell(what, fd);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset)
{
	ssize_t written;

	if (fails("write", fd))
		return -1;
	written = syscall(SYS_pwrite64, fd, bytes, length, offset);
	tell_write(fd, offset, written);
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
		tell_write(fd, syscall(SYS_lseek, fd, 0, SEEK_CUR) - written, written);
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
