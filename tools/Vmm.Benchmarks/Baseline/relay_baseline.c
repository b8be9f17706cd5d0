// A stream of bytes through one relay process over Unix sockets, and the ends that whoever is compared with it has on the host: a thread that writes, a
// thread that reads. The same ends for all.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCK = 64 * 1024 };

struct end {
    int fd;
    bool writes;
    long block;
    long bytes;
    sem_t go, done;
    pthread_t thread;
};

struct relay {
    int in, out;
    pid_t process;
    struct end *end;
};

static bool put(int fd, const char *bytes, long length)
{
    while (length > 0) {
        ssize_t now = write(fd, bytes, length);
        if (now < 0 && errno == EINTR) continue;
        if (now <= 0) return false;
        bytes += now;
        length -= now;
    }
    return true;
}

static void await(sem_t *sem) { while (sem_wait(sem) < 0 && errno == EINTR); }

static void *work(void *argument)
{
    struct end *end = argument;
    char *buffer = malloc(BLOCK);
    memset(buffer, 7, BLOCK);
    for (;;) {
        await(&end->go);
        if (end->bytes == 0) break;
        for (long left = end->bytes; left > 0;) {
            ssize_t now = end->writes ? (put(end->fd, buffer, end->block) ? end->block : -1) : read(end->fd, buffer, BLOCK);
            if (now < 0 && errno == EINTR) continue;
            if (now <= 0) break;
            left -= now;
        }
        sem_post(&end->done);
    }
    free(buffer);
    return NULL;
}

// Takes the descriptor over.
struct end *end_create(int fd, bool writes)
{
    struct end *end = calloc(1, sizeof *end);
    end->fd = fd;
    end->writes = writes;
    sem_init(&end->go, 0, 0);
    sem_init(&end->done, 0, 0);
    pthread_create(&end->thread, NULL, work, end);
    return end;
}

// Has the thread write or read so many bytes, by writes of a block each.
void end_begin(struct end *end, long bytes, long block)
{
    end->bytes = bytes;
    end->block = block;
    sem_post(&end->go);
}

void end_finish(struct end *end) { await(&end->done); }

void end_destroy(struct end *end)
{
    end->bytes = 0;
    sem_post(&end->go);
    pthread_join(end->thread, NULL);
    close(end->fd);
    free(end);
}

static void pass_on(int from, int to)
{
    static char buffer[BLOCK];
    for (;;) {
        ssize_t now = read(from, buffer, BLOCK);
        if (now < 0 && errno == EINTR) continue;
        if (now <= 0 || !put(to, buffer, now)) _exit(0);
    }
}

// The end that this thread is not is a thread that reads, or writes.
struct relay *relay_create(bool other_writes)
{
    int a[2], b[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, a) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, b) < 0) return NULL;
    struct relay *relay = calloc(1, sizeof *relay);
    relay->process = fork();
    if (relay->process == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(a[1], 3);
        dup2(b[0], 4);
        syscall(SYS_close_range, 5, ~0u, 0);
        pass_on(3, 4);
    }
    close(a[1]);
    close(b[0]);
    relay->in = other_writes ? -1 : a[0];
    relay->out = other_writes ? b[1] : -1;
    relay->end = end_create(other_writes ? a[0] : b[1], other_writes);
    return relay;
}

// So many writes of a block, to each relay in turn, to the last byte that was read. Where the other end writes there is one relay.
long relay_run(struct relay **relays, int count, long writes, long block)
{
    char *buffer = malloc(BLOCK);
    memset(buffer, 7, BLOCK);
    for (int i = 0; i < count; i++) end_begin(relays[i]->end, writes / count * block, block);
    long done = 0;
    if (relays[0]->in >= 0) {
        for (; done < writes && put(relays[done % count]->in, buffer, block); done++);
    } else {
        long left = writes * block;
        while (left > 0) {
            ssize_t now = read(relays[0]->out, buffer, BLOCK);
            if (now < 0 && errno == EINTR) continue;
            if (now <= 0) break;
            left -= now;
        }
        done = writes - left / block;
    }
    for (int i = 0; i < count; i++) end_finish(relays[i]->end);
    free(buffer);
    return done;
}

void relay_destroy(struct relay *relay)
{
    kill(relay->process, SIGKILL);
    waitpid(relay->process, NULL, 0);
    if (relay->in >= 0) close(relay->in);
    if (relay->out >= 0) close(relay->out);
    end_destroy(relay->end);
    free(relay);
}
