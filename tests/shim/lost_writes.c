/*
 * A disk that forgets what was not synced: preloaded into a process, it keeps beside every file the content that
 * would survive the loss of power. The test that started the process kills it and puts that content in its place.
 *
 * Environment
 *   LOST_WRITES_DIR    the watched folder, absolute; files of folders below it are not watched
 *   LOST_WRITES_DISK   where the disk's view is kept, a folder outside of it:
 *                        content/NAME   what the file held when it was last synced
 *                        entries/NAME   exists if the name itself was made durable, by a sync of the folder
 *
 * The model
 *   - A write is durable once fsync or fdatasync of its file has returned; before that, none of it is. O_SYNC, sync,
 *     syncfs, msync and the kernel's own write-back count for nothing: the disk keeps no more than it was told to. (The
 *     test may keep some of the unsynced sectors by lot when it cuts the power; both views are at its hands then.)
 *   - A name is durable once its folder was synced after the file was created. POSIX promises no less and no more, and a
 *     file whose name is not durable is gone, synced or not. SQLite syncs the folder with the first sync of each
 *     write-ahead log it creates, and thereby the name of the database too.
 *   - A file with a durable name and no content was synced never: it comes back empty.
 *   - unlink and rename are durable at once, as on a file system that journals its metadata in order. A removed name that
 *     comes back is not part of the model.
 *   - The disk's view of a file changes in place while a sync runs. A kill in its midst leaves a part of what was to
 *     be synced, as a loss of power would.
 *
 * How
 *   Every write marks a range of its file as unsynced (one range a file, from the lowest to the highest byte written);
 *   a sync does the real sync and then copies that range. A file that is seen for the first time, was truncated while
 *   being opened, or is mapped for writing is copied whole. Files are told apart by device and inode, so that nothing
 *   depends on which descriptor wrote. What goes past these functions (stdio, truncate, link,
 *   copy_file_range, io_uring) is not seen; SQLite uses none of it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(long) == 8 && sizeof(off_t) == 8, "written for 64-bit Linux: offsets are passed whole");

#define MOST_FILES 64

/* a regular file that the process wrote to or synced */
struct file {
    dev_t device;
    ino_t inode;
    int watched;    /* files elsewhere are remembered as well, so that each is looked up once */
    int whole;      /* the next sync copies everything */
    int mapped;     /* and so does each one after it */
    off_t from, to; /* the unsynced range */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct file files[MOST_FILES];
static int known;
static const char *folder;
static const char *disk;

static void die(const char *what) {
    /* a disk that is not modelled faithfully makes the test worthless: say so, loudly */
    fprintf(stderr, "lost_writes: %s: %s\n", what, strerror(errno));
    abort();
}

__attribute__((constructor)) static void start(void) {
    folder = getenv("LOST_WRITES_DIR");
    disk = getenv("LOST_WRITES_DISK");
    if (folder && !disk) die("LOST_WRITES_DISK is not set");
}

/* ---- names ---- */

/* where the file behind a descriptor is now */
static int path_of(int fd, char path[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return 1;
}

/* the name within the watched folder, or NULL */
static const char *name_in_folder(const char *path) {
    size_t length = strlen(folder);
    if (strncmp(path, folder, length) != 0 || path[length] != '/') return NULL;
    const char *name = path + length + 1;
    return *name && !strchr(name, '/') ? name : NULL;
}

/* a path made absolute that may be relative to the folder `at` */
static int absolute(int at, const char *path, char result[PATH_MAX]) {
    char base[PATH_MAX];
    if (*path == '/') return snprintf(result, PATH_MAX, "%s", path) < PATH_MAX;
    if (at == AT_FDCWD ? !getcwd(base, PATH_MAX) : !path_of(at, base)) return 0;
    return snprintf(result, PATH_MAX, "%s/%s", base, path) < PATH_MAX;
}

/* the path of one part of the disk's view of a name */
static const char *view(char path[PATH_MAX], const char *part, const char *name) {
    if (snprintf(path, PATH_MAX, "%s/%s/%s", disk, part, name) >= PATH_MAX) die("a path is too long");
    return path;
}

static int open_view(const char *part, const char *name) {
    char path[PATH_MAX];
    int fd = (int)syscall(SYS_openat, AT_FDCWD, view(path, part, name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) die("opening the disk's view");
    return fd;
}

/* ---- files: the lock is held from `seize` to `release` ---- */

static struct file *find(const struct stat *wanted) {
    for (int i = 0; i < known; i++)
        if (files[i].inode == wanted->st_ino && files[i].device == wanted->st_dev) return &files[i];
    return NULL;
}

/* the watched file behind a descriptor, with the lock, or NULL without it */
static struct file *seize(int fd) {
    struct stat found;
    int before = errno;
    if (!folder || fstat(fd, &found) != 0 || !S_ISREG(found.st_mode)) {
        errno = before;
        return NULL;
    }
    pthread_mutex_lock(&lock);
    struct file *file = find(&found);
    if (!file) {
        if (known == MOST_FILES) die("too many files");
        char path[PATH_MAX];
        file = &files[known++];
        *file = (struct file){.device = found.st_dev, .inode = found.st_ino, .whole = 1, .from = LLONG_MAX};
        file->watched = path_of(fd, path) && name_in_folder(path);
    }
    errno = before;
    if (file->watched) return file;
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void release(struct file *file) {
    if (file) pthread_mutex_unlock(&lock);
}

static void unsynced(struct file *file, off_t from, off_t to) {
    if (!file) return;
    if (from < file->from) file->from = from;
    if (to > file->to) file->to = to;
}

static void copy(int source, int target, off_t from, off_t to) {
    static char block[1 << 16]; /* guarded by the lock */
    while (from < to) {
        size_t most = to - from < (off_t)sizeof block ? (size_t)(to - from) : sizeof block;
        ssize_t size = pread(source, block, most, from);
        if (size < 0) die("reading a file");
        if (size == 0) return;
        if (syscall(SYS_pwrite64, target, block, size, from) != size) die("writing the disk's view");
        from += size;
    }
}

/* what the file holds is durable now */
static void keep(int fd, struct file *file) {
    char path[PATH_MAX], link[64];
    struct stat now;
    const char *name = path_of(fd, path) ? name_in_folder(path) : NULL;
    if (!name || fstat(fd, &now) != 0 || now.st_nlink == 0) return; /* it was removed */
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    /* opened again, because the descriptor may be for writing only */
    int source = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC);
    if (source < 0) die("reading a file");
    int target = open_view("content", name);
    if (syscall(SYS_ftruncate, target, now.st_size) != 0) die("truncating the disk's view");
    if (file->whole || file->mapped) unsynced(file, 0, now.st_size);
    copy(source, target, file->from, file->to < now.st_size ? file->to : now.st_size);
    close(source);
    close(target);
    file->whole = 0;
    file->from = LLONG_MAX;
    file->to = 0;
}

/* the names in the watched folder are durable now */
static void keep_names(int fd) {
    char path[PATH_MAX];
    int before = errno;
    if (!folder || !path_of(fd, path) || strcmp(path, folder) != 0) return;
    DIR *entries = opendir(folder);
    if (!entries) die("reading the folder");
    for (struct dirent *entry; (entry = readdir(entries));)
        if (entry->d_type == DT_REG) close(open_view("entries", entry->d_name));
    closedir(entries);
    errno = before;
}

/* a name that was removed or given to another file, and what its file was */
struct gone {
    int watched;
    char path[PATH_MAX];
    struct stat file;
};

static void look_at(struct gone *gone, int at, const char *path) {
    int before = errno;
    gone->watched = folder && absolute(at, path, gone->path) && name_in_folder(gone->path) &&
                    lstat(gone->path, &gone->file) == 0;
    errno = before;
}

/* its inode's number may come again, with another file */
static void forget(const struct gone *gone) {
    struct file *file = find(&gone->file);
    if (file) *file = files[--known];
}

static void drop_views(const char *name) {
    char path[PATH_MAX];
    syscall(SYS_unlinkat, AT_FDCWD, view(path, "content", name), 0);
    syscall(SYS_unlinkat, AT_FDCWD, view(path, "entries", name), 0);
}

/* ---- the functions that programs call ---- */

static int open_at(int at, const char *path, int flags, mode_t mode) {
    int fd = (int)syscall(SYS_openat, at, path, flags, mode);
    if (fd >= 0 && (flags & O_TRUNC)) {
        struct file *file = seize(fd);
        if (file) file->whole = 1;
        release(file);
    }
    return fd;
}

#define MODE_AFTER(flags) \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = va_arg(rest, mode_t); \
        va_end(rest); \
    }

int open(const char *path, int flags, ...) { MODE_AFTER(flags) return open_at(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE_AFTER(flags) return open_at(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE_AFTER(flags) return open_at(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE_AFTER(flags) return open_at(at, path, flags, mode); }
int creat(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

/* after a write at the descriptor's own position */
static ssize_t wrote(int fd, struct file *file, ssize_t size) {
    if (file && size > 0) {
        off_t end = lseek(fd, 0, SEEK_CUR);
        unsynced(file, end - size, end);
    }
    release(file);
    return size;
}

static ssize_t wrote_at(off_t offset, struct file *file, ssize_t size) {
    if (size > 0) unsynced(file, offset, offset + size);
    release(file);
    return size;
}

ssize_t write(int fd, const void *data, size_t size) {
    struct file *file = seize(fd);
    return wrote(fd, file, syscall(SYS_write, fd, data, size));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    struct file *file = seize(fd);
    return wrote(fd, file, syscall(SYS_writev, fd, parts, count));
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    struct file *file = seize(fd);
    return wrote_at(offset, file, syscall(SYS_pwrite64, fd, data, size, offset));
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) { return pwrite(fd, data, size, offset); }

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    struct file *file = seize(fd);
    return wrote_at(offset, file, syscall(SYS_pwritev, fd, parts, count, offset, 0L));
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    return pwritev(fd, parts, count, offset);
}

int ftruncate(int fd, off_t size) {
    struct file *file = seize(fd);
    int result = (int)syscall(SYS_ftruncate, fd, size);
    /* what lay behind it is gone, should the file grow again */
    if (result == 0) unsynced(file, size, LLONG_MAX);
    release(file);
    return result;
}

int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }

int fallocate(int fd, int mode, off_t offset, off_t size) {
    struct file *file = seize(fd);
    int result = (int)syscall(SYS_fallocate, fd, mode, offset, size);
    if (result == 0) unsynced(file, offset, LLONG_MAX);
    release(file);
    return result;
}

int fallocate64(int fd, int mode, off64_t offset, off64_t size) { return fallocate(fd, mode, offset, size); }

int posix_fallocate(int fd, off_t offset, off_t size) {
    int before = errno;
    int error = fallocate(fd, 0, offset, size) == 0 ? 0 : errno;
    errno = before;
    return error;
}

int posix_fallocate64(int fd, off64_t offset, off64_t size) { return posix_fallocate(fd, offset, size); }

void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset) {
    if ((flags & MAP_SHARED) && (protection & PROT_WRITE) && fd >= 0) {
        struct file *file = seize(fd);
        if (file) file->mapped = 1;
        release(file);
    }
    return (void *)syscall(SYS_mmap, address, size, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t size, int protection, int flags, int fd, off64_t offset) {
    return mmap(address, size, protection, flags, fd, offset);
}

static int synced(int fd, long call) {
    struct file *file = seize(fd);
    int result = (int)syscall(call, fd);
    if (result == 0 && file) keep(fd, file);
    release(file);
    if (result == 0 && !file) keep_names(fd);
    return result;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

int unlinkat(int at, const char *path, int flags) {
    struct gone gone;
    look_at(&gone, at, path);
    if (gone.watched) pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_unlinkat, at, path, flags);
    if (gone.watched) {
        int before = errno;
        if (result == 0) {
            forget(&gone);
            drop_views(name_in_folder(gone.path));
        }
        errno = before;
        pthread_mutex_unlock(&lock);
    }
    return result;
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
    struct gone moved, replaced;
    if (flags & RENAME_EXCHANGE) die("an exchange of names");
    look_at(&moved, from_at, from);
    look_at(&replaced, to_at, to);
    if (folder) pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    if (folder) {
        int before = errno;
        if (result == 0 && replaced.watched) {
            forget(&replaced);
            drop_views(name_in_folder(replaced.path));
        }
        if (result == 0 && moved.watched) {
            /* at its new name, if that is watched, it is a file not seen before, of which the disk knows this */
            char old_view[PATH_MAX], new_view[PATH_MAX], target[PATH_MAX];
            const char *new_name = absolute(to_at, to, target) ? name_in_folder(target) : NULL;
            forget(&moved);
            for (int i = 0; new_name && i < 2; i++) {
                const char *part = i ? "entries" : "content";
                view(old_view, part, name_in_folder(moved.path));
                syscall(SYS_renameat2, AT_FDCWD, old_view, AT_FDCWD, view(new_view, part, new_name), 0);
            }
            drop_views(name_in_folder(moved.path));
        }
        errno = before;
        pthread_mutex_unlock(&lock);
    }
    return result;
}

int renameat(int from_at, const char *from, int to_at, const char *to) {
    return renameat2(from_at, from, to_at, to, 0);
}

int rename(const char *from, const char *to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }
