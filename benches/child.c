/* The supervised program of the figures: small and static, so that its own start hides nothing.
 *
 *   child run    DIR INDEX                        tells that it runs, then stays
 *   child crash  DIR INDEX                        tells that it runs, then exits with 1
 *   child write  DIR INDEX BYTES TOTAL WRITERS FD the first WRITERS of all wait for the gate,
 *                                                 write TOTAL bytes to FD, BYTES in each
 *                                                 write, tell that they are done, and stay
 *   child notify DIR INDEX RATE                   is ready, and says RATE times a second that it is
 *                                                 alive (sd_notify(3)); 0 is never
 *   child verify TOTAL FILE...                    exit 0 if the files, one after the other, hold
 *                                                 what `write` writes, and nothing else
 *
 * DIR/page is shared with the bench: a head (starts, done) and a slot for each program. Times
 * are CLOCK_MONOTONIC and are taken here, so that the bench may look seldom and still time well.
 * DIR/gate is a FIFO: to open it takes a writer, and to wait for that costs nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 4096, SLOT = 64, LINE = 64, WRITE_MAX = 65536 };

struct head { uint64_t starts, done; };
struct slot { uint64_t starts, pid, start_ns, first_ns, done_ns, cpu_ns, errors, sent; };

static uint64_t clock_ns(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static char *map(int fd, off_t at) {
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, at);
    if (page == MAP_FAILED) _exit(101);
    return page;
}

static int open_in(const char *dir, const char *name, int flags) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0) _exit(102);
    return fd;
}

/* Lines of 64 bytes: their number in 16 hexadecimal digits, filling, a newline. */
static void fill(char *buffer, size_t bytes, uint64_t number) {
    static const char digits[] = "0123456789abcdef";
    for (size_t at = 0; at < bytes; at += LINE, number++) {
        for (int digit = 0; digit < 16; digit++)
            buffer[at + digit] = digits[(number >> (60 - 4 * digit)) & 15];
        memset(buffer + at + 16, 'x', LINE - 17);
        buffer[at + LINE - 1] = '\n';
    }
}

static int verify(uint64_t total, char **files) {
    char line[LINE], expected[LINE];
    uint64_t got = 0;
    for (; *files; files++) {
        FILE *file = fopen(*files, "rb");
        size_t bytes;
        while (file && (bytes = fread(line, 1, LINE, file)) > 0) {
            fill(expected, LINE, got / LINE);
            if (bytes != LINE || memcmp(line, expected, LINE)) return 1;
            got += bytes;
        }
        if (file) fclose(file);
    }
    return got == total ? 0 : 1;
}

static void write_all(struct slot *slot, int fd, size_t bytes, uint64_t total) {
    static char buffer[WRITE_MAX];
    slot->first_ns = clock_ns(CLOCK_MONOTONIC);
    uint64_t cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (uint64_t done = 0; done < total; done += bytes) {
        fill(buffer, bytes, done / LINE);
        for (size_t at = 0; at < bytes;) {
            ssize_t written = write(fd, buffer + at, bytes - at);
            if (written < 0 && errno == EINTR) continue;
            if (written <= 0) { slot->errors++; break; }
            at += (size_t)written;
        }
    }
    slot->cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    slot->done_ns = clock_ns(CLOCK_MONOTONIC);
}

/* What is late is made up for, so that a receiver that is slow is never without a message. */
static void notify(struct slot *slot, uint64_t rate) {
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    const char *name = getenv("NOTIFY_SOCKET");
    size_t length = name ? strlen(name) : 0;
    if (!length || length > sizeof to.sun_path) _exit(103);
    memcpy(to.sun_path, name, length);
    if (to.sun_path[0] == '@') to.sun_path[0] = 0;
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, bytes) < 0) _exit(104);
    if (send(fd, "READY=1", 7, 0) < 0) _exit(105);
    uint64_t began = clock_ns(CLOCK_MONOTONIC);
    while (rate) {
        uint64_t due = (clock_ns(CLOCK_MONOTONIC) - began) / 1000 * rate / 1000000;
        for (; slot->sent < due; slot->sent++)
            if (send(fd, "WATCHDOG=1", 10, 0) < 0) slot->errors++;
        usleep(1000);
    }
}

int main(int argc, char **argv) {
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    if (argc >= 4 && !strcmp(argv[1], "verify")) return verify(strtoull(argv[2], NULL, 10), argv + 3);
    if (argc < 4) return 100;
    /* Whatever ends its supervisor, such as the end of the bench, ends this. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int page = open_in(argv[2], "page", O_RDWR);
    uint64_t index = strtoull(argv[3], NULL, 10);
    off_t at = HEAD + (off_t)index * SLOT;
    struct head *head = (struct head *)map(page, 0);
    struct slot *slot = (struct slot *)(map(page, at & ~4095) + (at & 4095));
    close(page);
    slot->pid = (uint64_t)getpid();
    slot->start_ns = now;
    __atomic_add_fetch(&slot->starts, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&head->starts, 1, __ATOMIC_SEQ_CST);

    if (!strcmp(argv[1], "crash")) return 1;
    if (!strcmp(argv[1], "notify")) {
        if (argc < 5) return 100;
        slot->sent = 0;
        notify(slot, strtoull(argv[4], NULL, 10));
    }
    if (!strcmp(argv[1], "write")) {
        if (argc < 8) return 100;
        size_t bytes = strtoull(argv[4], NULL, 10);
        if (bytes > WRITE_MAX || bytes % LINE) return 100;
        /* What was started again has written before. */
        if (slot->starts == 1 && index < strtoull(argv[6], NULL, 10)) {
            close(open_in(argv[2], "gate", O_RDONLY));
            write_all(slot, atoi(argv[7]), bytes, strtoull(argv[5], NULL, 10));
            __atomic_add_fetch(&head->done, 1, __ATOMIC_SEQ_CST);
        }
    }
    for (;;) pause();
}
