/* Faults at the file layer, by order of a test: loaded into the system under test by LD_PRELOAD (tests/fault/shim.py).
 *
 * Below every user of the C library, so that what SQLite, ctypes and Python do fails alike. The orders stand in a file
 * that is mapped before a program is confined; children forked from it share the mapping. A call whose path (of the file
 * behind the descriptor, or as given) has the rule's text in it fails with the rule's error, waits, or is cut short.
 * Calls that make a descriptor of no file have words in the place of a path: "socket: unix", "eventfd:".
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    CREATE = 1, WRITE = 2, SYNC = 4, RENAME = 8, UNLINK = 16, MKDIR = 32, READ = 64, OPEN = 128, ACCEPT = 256,
    TRUNCATE = 512, MODE = 1024, LOCK = 2048, LIST = 4096, TIMES = 8192, BIND = 16384, MAP = 32768, STAT = 65536,
    DESCRIPTOR = 131072
};

struct rule {
    int32_t active, calls, error, left, hits, delay_ms, shorten, pid, skip;  /* pid: 0 for all processes */
    char path[96];
};

#define RULES 32

struct orders {
    int64_t clock;  /* seconds that the wall clock is wrong by */
    int64_t unused;
    struct rule rules[RULES];
};

static volatile struct orders *orders;
static char homes[128];

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("TEST_FAULTS"), *where = getenv("TEST_HOMES");
    snprintf(homes, sizeof homes, "%s", where ? where : "");
    int fd = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *found = mmap(NULL, sizeof(struct orders), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (found != MAP_FAILED)
        orders = found;
    close(fd);
}

static const char *path_of(int fd, char *buffer, size_t size) {
    char name[40];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(name, buffer, size - 1);
    buffer[length < 0 ? 0 : length] = 0;
    return buffer;
}

/* 0: go on; -1: fail, errno is set; 1: cut it short */
static int judge(int call, int fd, const char *path) {
    char buffer[512];
    if (!orders)
        return 0;
    for (int i = 0; i < RULES; i++) {
        volatile struct rule *rule = &orders->rules[i];
        if (!rule->active || !(rule->calls & call) || (rule->pid && rule->pid != getpid()))
            continue;
        int before = errno;
        if (!path)
            path = path_of(fd, buffer, sizeof buffer);
        errno = before;
        if (rule->path[0] && !strstr(path, (const char *)rule->path))
            continue;
        if (rule->skip > 0 && __sync_fetch_and_sub(&rule->skip, 1) > 0)
            continue;
        if (rule->left >= 0 && __sync_fetch_and_sub(&rule->left, 1) <= 0) {
            rule->left = 0;
            continue;
        }
        __sync_fetch_and_add(&rule->hits, 1);
        if (rule->delay_ms) {
            struct timespec pause = {rule->delay_ms / 1000, (rule->delay_ms % 1000) * 1000000L};
            nanosleep(&pause, NULL);
        }
        if (rule->error) {
            errno = rule->error;
            return -1;
        }
        if (rule->shorten)
            return 1;
    }
    return 0;
}

#define REAL(type, name, ...)                                   \
    static type (*real)(__VA_ARGS__);                           \
    if (!real)                                                  \
        real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int opens(int flags) { return (flags & (O_CREAT | O_TRUNC)) || (flags & O_ACCMODE) != O_RDONLY ? CREATE : OPEN; }

#define OPENAT(name)                                            \
    int name(int at, const char *path, int flags, ...) {        \
        va_list more;                                           \
        va_start(more, flags);                                  \
        int mode = va_arg(more, int);                           \
        va_end(more);                                           \
        REAL(int, #name, int, const char *, int, ...);          \
        return judge(opens(flags), -1, path) < 0 ? -1 : real(at, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

#define OPENS(name)                                             \
    int name(const char *path, int flags, ...) {                \
        va_list more;                                           \
        va_start(more, flags);                                  \
        int mode = va_arg(more, int);                           \
        va_end(more);                                           \
        REAL(int, #name, const char *, int, ...);               \
        return judge(opens(flags), -1, path) < 0 ? -1 : real(path, flags, mode); \
    }
OPENS(open)
OPENS(open64)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    int verdict = judge(WRITE, fd, NULL);
    return verdict < 0 ? -1 : real(fd, data, verdict && size > 1 ? size / 2 : size);
}

#define PWRITE(name)                                            \
    ssize_t name(int fd, const void *data, size_t size, off_t offset) { \
        REAL(ssize_t, #name, int, const void *, size_t, off_t); \
        int verdict = judge(WRITE, fd, NULL);                   \
        return verdict < 0 ? -1 : real(fd, data, verdict && size > 1 ? size / 2 : size, offset); \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    int verdict = judge(WRITE, fd, NULL);
    return verdict < 0 ? -1 : real(fd, parts, verdict && count > 1 ? count / 2 : count);
}

#define PWRITEV(name)                                           \
    ssize_t name(int fd, const struct iovec *parts, int count, off_t offset) { \
        REAL(ssize_t, #name, int, const struct iovec *, int, off_t); \
        int verdict = judge(WRITE, fd, NULL);                   \
        return verdict < 0 ? -1 : real(fd, parts, verdict && count > 1 ? count / 2 : count, offset); \
    }
PWRITEV(pwritev)
PWRITEV(pwritev64)

#define ONE(name, type, argument, call, fd, path)               \
    type name(argument) {                                       \
        REAL(type, #name, argument);                            \
        return judge(call, fd, path) < 0 ? -1 : real(given);    \
    }
ONE(fsync, int, int given, SYNC, given, NULL)
ONE(fdatasync, int, int given, SYNC, given, NULL)
ONE(syncfs, int, int given, SYNC, given, NULL)

int sync_file_range(int fd, off_t from, off_t count, unsigned int flags) {
    REAL(int, "sync_file_range", int, off_t, off_t, unsigned int);
    /* What only begins the writing tells of no error. */
    int wait = flags & (SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WAIT_AFTER);
    return wait && judge(SYNC, fd, NULL) < 0 ? -1 : real(fd, from, count, flags);
}

#define TRUNCATES(name)                                         \
    int name(int fd, off_t size) {                              \
        REAL(int, #name, int, off_t);                           \
        return judge(TRUNCATE, fd, NULL) < 0 ? -1 : real(fd, size); \
    }
TRUNCATES(ftruncate)
TRUNCATES(ftruncate64)

int posix_fallocate(int fd, off_t from, off_t size) {
    REAL(int, "posix_fallocate", int, off_t, off_t);
    return judge(TRUNCATE, fd, NULL) < 0 ? errno : real(fd, from, size);
}

int chmod(const char *path, mode_t mode) {
    REAL(int, "chmod", const char *, mode_t);
    return judge(MODE, -1, path) < 0 ? -1 : real(path, mode);
}

int fchmod(int fd, mode_t mode) {
    REAL(int, "fchmod", int, mode_t);
    return judge(MODE, fd, NULL) < 0 ? -1 : real(fd, mode);
}

#define OWNS(name)                                              \
    int name(const char *path, uid_t owner, gid_t group) {      \
        REAL(int, #name, const char *, uid_t, gid_t);           \
        return judge(MODE, -1, path) < 0 ? -1 : real(path, owner, group); \
    }
OWNS(chown)
OWNS(lchown)

int fchown(int fd, uid_t owner, gid_t group) {
    REAL(int, "fchown", int, uid_t, gid_t);
    return judge(MODE, fd, NULL) < 0 ? -1 : real(fd, owner, group);
}

int utimensat(int at, const char *path, const struct timespec times[2], int flags) {
    REAL(int, "utimensat", int, const char *, const struct timespec *, int);
    return judge(TIMES, at, path) < 0 ? -1 : real(at, path, times, flags);
}

int futimens(int fd, const struct timespec times[2]) {
    REAL(int, "futimens", int, const struct timespec *);
    return judge(TIMES, fd, NULL) < 0 ? -1 : real(fd, times);
}

int flock(int fd, int how) {
    REAL(int, "flock", int, int);
    return !(how & LOCK_UN) && judge(LOCK, fd, NULL) < 0 ? -1 : real(fd, how);
}

static int locks(int command) {
    return command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK || command == F_OFD_SETLKW;
}

#define FCNTL(name)                                             \
    int name(int fd, int command, ...) {                        \
        va_list more;                                           \
        va_start(more, command);                                \
        void *given = va_arg(more, void *);                     \
        va_end(more);                                           \
        REAL(int, #name, int, int, ...);                        \
        if (locks(command) && ((struct flock *)given)->l_type != F_UNLCK && judge(LOCK, fd, NULL) < 0) \
            return -1;                                          \
        if ((command == F_DUPFD || command == F_DUPFD_CLOEXEC) && judge(DESCRIPTOR, -1, "dup:") < 0) \
            return -1;                                          \
        return real(fd, command, given);                        \
    }
FCNTL(fcntl)
FCNTL(fcntl64)

DIR *opendir(const char *path) {
    REAL(DIR *, "opendir", const char *);
    return judge(LIST, -1, path) < 0 ? NULL : real(path);
}

#define READDIR(name, type)                                     \
    struct type *name(DIR *folder) {                            \
        REAL(struct type *, #name, DIR *);                      \
        return judge(LIST, dirfd(folder), NULL) < 0 ? NULL : real(folder); \
    }
READDIR(readdir, dirent)
READDIR(readdir64, dirent64)

#define MAPS(name)                                              \
    void *name(void *where, size_t size, int protection, int flags, int fd, off_t offset) { \
        REAL(void *, #name, void *, size_t, int, int, int, off_t); \
        if ((flags & MAP_SHARED) && fd >= 0 && judge(MAP, fd, NULL) < 0) \
            return MAP_FAILED;                                  \
        return real(where, size, protection, flags, fd, offset); \
    }
MAPS(mmap)
MAPS(mmap64)

int bind(int fd, const struct sockaddr *address, socklen_t length) {
    REAL(int, "bind", int, const struct sockaddr *, socklen_t);
    char path[sizeof(struct sockaddr_un) + 1] = "";
    if (address->sa_family == AF_UNIX && length <= sizeof(struct sockaddr_un))
        memcpy(path, ((const struct sockaddr_un *)address)->sun_path, length - offsetof(struct sockaddr_un, sun_path));
    return path[0] && judge(BIND, -1, path) < 0 ? -1 : real(fd, address, length);
}

#define STATS(name, type)                                       \
    int name(const char *path, struct type *found) {            \
        REAL(int, #name, const char *, struct type *);          \
        return judge(STAT, -1, path) < 0 ? -1 : real(path, found); \
    }
STATS(stat, stat)
STATS(stat64, stat64)
STATS(lstat, stat)
STATS(lstat64, stat64)

#define FSTATS(name, type)                                      \
    int name(int fd, struct type *found) {                      \
        REAL(int, #name, int, struct type *);                   \
        return judge(STAT, fd, NULL) < 0 ? -1 : real(fd, found); \
    }
FSTATS(fstat, stat)
FSTATS(fstat64, stat64)

#define FSTATATS(name, type)                                    \
    int name(int at, const char *path, struct type *found, int flags) { \
        REAL(int, #name, int, const char *, struct type *, int); \
        return judge(STAT, at, path) < 0 ? -1 : real(at, path, found, flags); \
    }
FSTATATS(fstatat, stat)
FSTATATS(fstatat64, stat64)
ONE(unlink, int, const char *given, UNLINK, -1, given)
ONE(rmdir, int, const char *given, UNLINK, -1, given)

int unlinkat(int at, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    return judge(UNLINK, -1, path) < 0 ? -1 : real(at, path, flags);
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    return judge(MKDIR, -1, path) < 0 ? -1 : real(path, mode);
}

/* The rule's text may be in either name. */
static int judge_two(const char *from, const char *to) {
    char both[1024];
    snprintf(both, sizeof both, "%s > %s", from, to);
    return judge(RENAME, -1, both);
}

#define TWO(name)                                               \
    int name(const char *from, const char *to) {                \
        REAL(int, #name, const char *, const char *);           \
        return judge_two(from, to) < 0 ? -1 : real(from, to);   \
    }
TWO(rename)
TWO(link)

#define TWO_AT(name, extra, ...)                                \
    int name(int at, const char *from, int there, const char *to extra) { \
        REAL(int, #name, int, const char *, int, const char * extra);     \
        return judge_two(from, to) < 0 ? -1 : real(at, from, there, to __VA_ARGS__); \
    }
#define COMMA_FLAGS , int flags
#define COMMA_UNSIGNED , unsigned int flags
#define NOTHING
TWO_AT(renameat, NOTHING)
TWO_AT(linkat, COMMA_FLAGS, , flags)
TWO_AT(renameat2, COMMA_UNSIGNED, , flags)

ssize_t read(int fd, void *data, size_t size) {
    REAL(ssize_t, "read", int, void *, size_t);
    return judge(READ, fd, NULL) < 0 ? -1 : real(fd, data, size);
}

#define PREAD(name)                                             \
    ssize_t name(int fd, void *data, size_t size, off_t offset) { \
        REAL(ssize_t, #name, int, void *, size_t, off_t);       \
        return judge(READ, fd, NULL) < 0 ? -1 : real(fd, data, size, offset); \
    }
PREAD(pread)
PREAD(pread64)

/* The rule's text for what has no path: what a socket speaks. */
static const char *family(int domain) {
    return domain == AF_UNIX ? "socket: unix" : domain == AF_INET || domain == AF_INET6 ? "socket: inet" : "socket: other";
}

static const char *family_of(int fd) {
    int domain = 0;
    socklen_t size = sizeof domain;
    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size);
    return family(domain);
}

int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags) {
    REAL(int, "accept4", int, struct sockaddr *, socklen_t *, int);
    return judge(ACCEPT, -1, family_of(fd)) < 0 ? -1 : real(fd, address, length, flags);
}

int accept(int fd, struct sockaddr *address, socklen_t *length) {
    REAL(int, "accept", int, struct sockaddr *, socklen_t *);
    return judge(ACCEPT, -1, family_of(fd)) < 0 ? -1 : real(fd, address, length);
}

int socket(int domain, int type, int protocol) {
    REAL(int, "socket", int, int, int);
    return judge(DESCRIPTOR, -1, family(domain)) < 0 ? -1 : real(domain, type, protocol);
}

int socketpair(int domain, int type, int protocol, int pair[2]) {
    REAL(int, "socketpair", int, int, int, int *);
    return judge(DESCRIPTOR, -1, "pair:") < 0 ? -1 : real(domain, type, protocol, pair);
}

int pipe2(int pair[2], int flags) {
    REAL(int, "pipe2", int *, int);
    return judge(DESCRIPTOR, -1, "pipe:") < 0 ? -1 : real(pair, flags);
}

int eventfd(unsigned int value, int flags) {
    REAL(int, "eventfd", unsigned int, int);
    return judge(DESCRIPTOR, -1, "eventfd:") < 0 ? -1 : real(value, flags);
}
ONE(pipe, int, int *given, DESCRIPTOR, -1, "pipe:")
ONE(epoll_create, int, int given, DESCRIPTOR, -1, "epoll:")
ONE(epoll_create1, int, int given, DESCRIPTOR, -1, "epoll:")
ONE(dup, int, int given, DESCRIPTOR, -1, "dup:")

int clock_gettime(clockid_t clock, struct timespec *found) {
    REAL(int, "clock_gettime", clockid_t, struct timespec *);
    int status = real(clock, found);
    if (!status && orders && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        found->tv_sec += orders->clock;
    return status;
}

int gettimeofday(struct timeval *restrict found, void *restrict zone) {
    REAL(int, "gettimeofday", struct timeval *, void *);
    int status = real(found, zone);
    if (!status && orders)
        found->tv_sec += orders->clock;
    return status;
}

time_t time(time_t *found) {
    REAL(time_t, "time", time_t *);
    time_t now = real(NULL) + (orders ? orders->clock : 0);
    if (found)
        *found = now;
    return now;
}

/* A user who has a directory in TEST_HOMES is at home there. */
int getpwnam_r(const char *name, struct passwd *account, char *buffer, size_t size, struct passwd **found) {
    REAL(int, "getpwnam_r", const char *, struct passwd *, char *, size_t, struct passwd **);
    static __thread char home[256];
    int status = real(name, account, buffer, size, found);
    if (status || !*found || !homes[0] || strchr(name, '/'))
        return status;
    snprintf(home, sizeof home, "%s/%s", homes, name);
    if (access(home, F_OK) == 0)
        account->pw_dir = home;
    return status;
}
