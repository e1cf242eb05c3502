/* The floor of the figures: the least that could be called the same work, and no manners.
 *
 *   floor [--lean] [--o1] [--nap] [--promises] [--stdout] CONFIG
 *
 * CONFIG has a line for each program: its log, the command, its arguments, with tabs between.
 * Each gets a session of its own, /dev/null as stdin and stdout, a pipe as stderr, which is
 * drained into its log. Who ends is started again at once. SIGTERM: TERM to every group, wait
 * for all, drain, exit with 0. There is no backoff, no KILL, no check of anything.
 *
 * Plain, it is poll(2) and vfork(2), and holds three descriptors a program (both ends of the
 * pipe, and the log).
 *
 * --lean      one descriptor a program: the log is opened for each drain, and the write end
 *             through /proc/self/fd for each start
 * --o1        CLONE_FILES, and close_range(CLOSE_RANGE_UNSHARE) in the child: no start copies,
 *             and no exec closes, thousands of descriptors
 * --nap       rests 1 ms after a round of short reads (signals still wake it): many small
 *             writes cost one wake-up then, not one each
 * --promises  what procsched promises besides: the dead are seen by waitid(WNOWAIT) and their
 *             group is killed before the reap; a pipe tells why an exec failed; each exit is
 *             reported as a line of JSON with the end of that run's stderr on stdout; each
 *             start and exit is a line on stderr
 * --stdout    the pipe is its stdout, and /dev/null its stderr
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    ARGUMENTS_MAX = 64,
    READ_BYTES = 64 * 1024,
    TAIL_BYTES_MAX = 64 * 1024,
    /* With --o1 a child finds these, and nothing above them, beside the standard streams. */
    NULL_FD = 3, STDERR_FD = 4, ERROR_FD = 5,
};

struct program {
    char **argv;
    char *log_path;
    const char *name;
    pid_t pid;
    int read_fd, write_fd, log_fd;
    /* For --promises: where the run's bytes begin in the log, when it began, which one it is. */
    off_t log_offset;
    double started_at;
    uint64_t starts;
};

static struct program *programs;
static struct pollfd *polled; /* the self-pipe, and behind it the programs' pipes */
static int count, null_fd, wake[2], lean, o1, nap, promises, of_stdout;
static sigset_t first_mask;
static volatile sig_atomic_t stopping;
static char buffer[READ_BYTES];
static char stack[64 * 1024] __attribute__((aligned(16)));

/* ---- whose a pid is: open addressing, deleted by shifting back ---- */

static struct { pid_t pid; int index; } *owners;
static size_t owners_mask;

static size_t place_of(pid_t pid) { return (size_t)pid * 2654435761u & owners_mask; }

static void remember(pid_t pid, int index) {
    size_t at = place_of(pid);
    while (owners[at].pid) at = (at + 1) & owners_mask;
    owners[at].pid = pid;
    owners[at].index = index;
}

static int forget(pid_t pid) {
    size_t hole = place_of(pid);
    while (owners[hole].pid != pid) {
        if (!owners[hole].pid) return -1;
        hole = (hole + 1) & owners_mask;
    }
    int index = owners[hole].index;
    for (size_t at = hole;;) {
        owners[hole].pid = 0;
        size_t home;
        do {
            at = (at + 1) & owners_mask;
            if (!owners[at].pid) return index;
            home = place_of(owners[at].pid);
        } while (hole <= at ? (hole < home && home <= at) : (hole < home || home <= at));
        owners[hole] = owners[at];
        hole = at;
    }
}

/* ---- what is told (--promises): one write for all lines of a turn ---- */

struct output { char *text; size_t bytes, room; int fd; };
static struct output reports = { .fd = 1 }, messages = { .fd = 2 };

static char *reserve(struct output *out, size_t bytes) {
    if (out->bytes + bytes > out->room) {
        out->room = (out->bytes + bytes) * 2;
        out->text = realloc(out->text, out->room);
        if (!out->text) _exit(6);
    }
    return out->text + out->bytes;
}

static void say(struct output *out, const char *format, ...) {
    va_list values;
    va_start(values, format);
    out->bytes += (size_t)vsnprintf(reserve(out, 8192), 8192, format, values);
    va_end(values);
}

static void say_base64(struct output *out, const unsigned char *data, size_t bytes) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = reserve(out, (bytes + 2) / 3 * 4), *end = text;
    for (size_t at = 0; at < bytes; at += 3) {
        size_t left = bytes - at;
        uint32_t three = (uint32_t)data[at] << 16 | (left > 1 ? (uint32_t)data[at + 1] << 8 : 0) |
                         (left > 2 ? data[at + 2] : 0);
        *end++ = digits[three >> 18];
        *end++ = digits[three >> 12 & 63];
        *end++ = left > 1 ? digits[three >> 6 & 63] : '=';
        *end++ = left > 2 ? digits[three & 63] : '=';
    }
    out->bytes += (size_t)(end - text);
}

static void flush(struct output *out) {
    for (size_t at = 0; at < out->bytes;) {
        ssize_t written = write(out->fd, out->text + at, out->bytes - at);
        if (written <= 0) break;
        at += (size_t)written;
    }
    out->bytes = 0;
}

static double seconds(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void stamp(char *text, size_t room, double at, const char *format, double part) {
    time_t whole = (time_t)at;
    struct tm parts;
    char date[32];
    gmtime_r(&whole, &parts);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text, room, format, date, (int)((at - (double)whole) * part));
}

static void tell(struct program *program, const char *what, int value) {
    char at[64];
    stamp(at, sizeof at, seconds(CLOCK_REALTIME), "%s.%03dZ", 1e3);
    say(&messages, "%s %s %s=%d\n", at, program->name, what, value);
}

/* The end of the run's stderr is read back from the log: to keep it would cost more. */
static void report(struct program *program, int status) {
    static unsigned char tail[TAIL_BYTES_MAX];
    int log = open(program->log_path, O_RDONLY | O_CLOEXEC);
    struct stat file = { 0 };
    fstat(log, &file);
    off_t from = file.st_size - program->log_offset > TAIL_BYTES_MAX ? file.st_size - TAIL_BYTES_MAX
                                                                     : program->log_offset;
    ssize_t bytes = file.st_size > from ? pread(log, tail, sizeof tail, from) : 0;
    close(log);
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    double now = seconds(CLOCK_REALTIME);
    char at[64];
    stamp(at, sizeof at, now, "%s.%06d+00:00", 1e6);
    say(&reports, "{\"process\":\"%s\",\"timestamp\":%.6f,\"utc_iso\":\"%s\",\"data\":\"", program->name, now, at);
    say_base64(&reports, tail, bytes > 0 ? (size_t)bytes : 0);
    say(&reports,
        "\",\"return_code\":%d,\"pid\":%d,\"uptime\":%.6f,\"restarts\":%llu,\"retry_in\":0,"
        "\"stopping\":%s,\"log\":\"%s\",\"log_offset\":%lld,\"data_omitted\":%lld,\"error\":null}\n",
        code, program->pid, seconds(CLOCK_MONOTONIC) - program->started_at,
        (unsigned long long)program->starts - 1, stopping ? "true" : "false", program->log_path,
        (long long)program->log_offset, (long long)(from - program->log_offset));
    tell(program, "exited code", code);
}

/* ---- to start ---- */

struct birth { struct program *program; int write_fd, error_fd; };

static int become(struct birth *birth) {
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGCHLD, SIG_DFL);
    sigprocmask(SIG_SETMASK, &first_mask, NULL);
    setsid();
    dup2(null_fd, 0);
    dup2(null_fd, of_stdout ? 2 : 1);
    dup2(birth->write_fd, of_stdout ? 1 : 2);
    execv(birth->program->argv[0], birth->program->argv);
    if (promises) {
        int error = errno;
        (void)!write(birth->error_fd, &error, sizeof error);
    }
    _exit(127);
}

static int become_o1(void *argument) {
    if (close_range(ERROR_FD + 1, ~0u, CLOSE_RANGE_UNSHARE)) _exit(126);
    struct birth birth = { ((struct birth *)argument)->program, STDERR_FD, ERROR_FD };
    return become(&birth);
}

static pid_t give_birth(struct birth *birth) {
    if (!o1) {
        pid_t pid = vfork();
        if (pid == 0) become(birth);
        return pid;
    }
    dup3(birth->write_fd, STDERR_FD, O_CLOEXEC);
    if (promises) {
        dup3(birth->error_fd, ERROR_FD, O_CLOEXEC);
        close(birth->error_fd);
        birth->error_fd = ERROR_FD;
    }
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before); /* no handler of ours may run in the child */
    pid_t pid = clone(become_o1, stack + sizeof stack, CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, birth);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return pid;
}

static void start(int index) {
    struct program *program = &programs[index];
    int write_fd = program->write_fd, errors[2] = { -1, -1 }, error;
    polled[index + 1] = (struct pollfd){ .fd = program->read_fd, .events = POLLIN };
    if (lean) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", program->read_fd);
        write_fd = open(path, O_WRONLY | O_CLOEXEC);
    }
    if (promises) {
        if (pipe2(errors, O_CLOEXEC)) _exit(5);
        struct stat file = { 0 };
        stat(program->log_path, &file);
        program->log_offset = file.st_size;
        program->started_at = seconds(CLOCK_MONOTONIC);
        program->starts++;
    }
    struct birth birth = { program, write_fd, errors[1] };
    program->pid = give_birth(&birth);
    if (program->pid > 0) remember(program->pid, index);
    if (lean) close(write_fd);
    if (promises) {
        close(birth.error_fd);
        if (read(errors[0], &error, sizeof error) == sizeof error) tell(program, "not executed, errno", error);
        else tell(program, "started pid", program->pid);
        close(errors[0]);
    }
}

/* ---- to drain ---- */

/* Says whether there may be more than one buffer. */
static int drain(struct program *program) {
    ssize_t bytes = read(program->read_fd, buffer, sizeof buffer);
    /* With --lean nobody can write until the next start: not to be waited for meanwhile. */
    if (bytes == 0) polled[program - programs + 1].fd = -1;
    if (bytes <= 0) return 0;
    int log = lean ? open(program->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640) : program->log_fd;
    for (ssize_t at = 0; at < bytes;) {
        ssize_t written = write(log, buffer + at, (size_t)(bytes - at));
        if (written <= 0) break;
        at += written;
    }
    if (lean) close(log);
    return bytes == (ssize_t)sizeof buffer;
}

/* ---- to reap: all of them before the first start, or a storm of crashes never ends ---- */

static pid_t reap_one(int *status) {
    if (!promises) return waitpid(-1, status, WNOHANG);
    siginfo_t seen;
    seen.si_pid = 0;
    if (waitid(P_ALL, 0, &seen, WEXITED | WNOHANG | WNOWAIT) || !seen.si_pid) return 0;
    kill(-seen.si_pid, SIGKILL);
    return waitpid(seen.si_pid, status, 0);
}

/* Returns how many have gone for good. */
static int reap_all(int *dead) {
    int gone = 0, again = 0, status;
    pid_t pid;
    while ((pid = reap_one(&status)) > 0) {
        int index = forget(pid);
        if (index < 0) continue;
        if (promises) {
            while (drain(&programs[index])) {}
            report(&programs[index], status);
        }
        programs[index].pid = 0;
        if (stopping) gone++;
        else dead[again++] = index;
    }
    while (again > 0) start(dead[--again]);
    return gone;
}

/* ---- to set up ---- */

static void on_signal(int signal) {
    int error = errno;
    if (signal != SIGCHLD) stopping = 1;
    (void)!write(wake[1], "", 1);
    errno = error;
}

static void read_config(const char *path) {
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) _exit(2);
    char *line = NULL;
    size_t bytes = 0;
    int room = 0;
    while (getline(&line, &bytes, file) > 0) {
        line[strcspn(line, "\n")] = 0;
        if (count == room) programs = realloc(programs, sizeof *programs * (size_t)(room = room ? room * 2 : 16));
        char *left = strdup(line), *words[ARGUMENTS_MAX], *word;
        int length = 0;
        while (length < ARGUMENTS_MAX - 1 && (word = strsep(&left, "\t"))) words[length++] = word;
        words[length] = NULL;
        struct program program = { .log_path = words[0] };
        program.argv = malloc(sizeof *words * (size_t)length);
        memcpy(program.argv, words + 1, sizeof *words * (size_t)length);
        const char *slash = strrchr(words[0], '/'), *base = slash ? slash + 1 : words[0];
        program.name = strndup(base, strcspn(base, "."));
        programs[count++] = program;
    }
    fclose(file);
    free(line);
}

static void set_up(void) {
    size_t room = 64;
    while (room < (size_t)count * 4) room *= 2;
    owners = calloc(room, sizeof *owners);
    owners_mask = room - 1;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (o1) { /* the low numbers are taken before anything else gets one */
        for (int fd = NULL_FD; fd <= ERROR_FD; fd++)
            if (fd != null_fd) dup3(null_fd, fd, O_CLOEXEC);
        if (null_fd > ERROR_FD) close(null_fd);
        null_fd = NULL_FD;
    }
    if (pipe2(wake, O_CLOEXEC | O_NONBLOCK)) _exit(3);
    sigprocmask(SIG_BLOCK, NULL, &first_mask);
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART | SA_NOCLDSTOP };
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGCHLD, &action, NULL);
    polled[0] = (struct pollfd){ .fd = wake[0], .events = POLLIN };
}

static void set_up_program(struct program *program) {
    int ends[2];
    program->log_fd = open(program->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (program->log_fd < 0) _exit(4);
    if (pipe2(ends, O_CLOEXEC)) _exit(5);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    program->read_fd = ends[0];
    program->write_fd = ends[1];
    if (lean) {
        close(program->log_fd);
        close(program->write_fd);
    }
}

int main(int argc, char **argv) {
    const char *config = NULL;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--lean")) lean = 1;
        else if (!strcmp(argv[i], "--o1")) o1 = 1;
        else if (!strcmp(argv[i], "--nap")) nap = 1;
        else if (!strcmp(argv[i], "--promises")) promises = 1;
        else if (!strcmp(argv[i], "--stdout")) of_stdout = 1;
        else config = argv[i];
    }
    read_config(config);
    polled = calloc((size_t)count + 1, sizeof *polled);
    int *dead = calloc((size_t)count, sizeof *dead);
    set_up();
    for (int i = 0; i < count; i++) {
        set_up_program(&programs[i]);
        start(i);
    }
    int told = 0, rest = 0;
    for (int alive = count; alive > 0;) {
        flush(&reports);
        flush(&messages);
        if (nap && rest) poll(polled, 1, 1);
        int ready = poll(polled, (nfds_t)count + 1, -1), full = 0;
        rest = 0;
        for (int i = 1; ready > 0 && i <= count; i++) {
            if (!polled[i].revents) continue;
            full |= drain(&programs[i - 1]);
            rest = 1;
            ready -= 1;
        }
        rest &= !full;
        if (!polled[0].revents) continue;
        while (read(wake[0], buffer, sizeof buffer) == (ssize_t)sizeof buffer) {}
        if (stopping && !told) {
            told = 1;
            for (int i = 0; i < count; i++) if (programs[i].pid > 0) kill(-programs[i].pid, SIGTERM);
        }
        alive -= reap_all(dead);
    }
    for (int i = 0; i < count; i++) drain(&programs[i]);
    flush(&reports);
    flush(&messages);
    return 0;
}
