/*
 * The baseline of every ratio: the plainest fast loop that C can write over epoll. Level-triggered, one read per event, the event's
 * data is a pointer to the source. Compiled at run time with the machine's own compiler.
 *
 * The calls are those of a process with several threads: a descriptor table that is shared costs each call about a tenth more, and
 * every real host of devices has threads. So an idle one is started here too, whoever loads this file.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BATCH_MAX 1024

struct source {
    int fd;
    void (*handle)(struct source *source, uint32_t ready);
    long *handled;
};

struct baseline {
    int set;
    int count;
    long handled;
    struct source *sources;
    struct epoll_event batch[BATCH_MAX];
};

static void *idle(void *unused)
{
    for (;;) pause();
    return unused;
}

static void start_idle_thread(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, idle, NULL) == 0) pthread_detach(thread);
}

static void count_and_drain(struct source *source, uint32_t ready)
{
    uint64_t value;
    if ((ready & EPOLLIN) && read(source->fd, &value, sizeof value) == sizeof value) ++*source->handled;
}

static int watch(struct baseline *b, struct source *source)
{
    struct epoll_event interest = { .events = EPOLLIN, .data.ptr = source };
    return epoll_ctl(b->set, EPOLL_CTL_ADD, source->fd, &interest);
}

static int fire(struct source *source)
{
    uint64_t one = 1;
    return write(source->fd, &one, sizeof one) == sizeof one ? 0 : -1;
}

static int turn(struct baseline *b)
{
    int ready = epoll_wait(b->set, b->batch, BATCH_MAX, -1);
    for (int i = 0; i < ready; i++) {
        struct source *source = b->batch[i].data.ptr;
        source->handle(source, b->batch[i].events);
    }
    return ready;
}

void baseline_destroy(struct baseline *b)
{
    for (int i = 0; i < b->count; i++)
        if (b->sources[i].fd >= 0) close(b->sources[i].fd);
    if (b->set >= 0) close(b->set);
    free(b->sources);
    free(b);
}

struct baseline *baseline_create(int count)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_idle_thread);

    struct baseline *b = calloc(1, sizeof *b);
    if (!b) return NULL;
    b->set = epoll_create1(EPOLL_CLOEXEC);
    b->count = count;
    b->sources = calloc(count, sizeof *b->sources);
    if (!b->sources) b->count = 0;
    int failed = b->set < 0 || !b->sources;
    for (int i = 0; i < b->count; i++) {
        b->sources[i] = (struct source) { eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), count_and_drain, &b->handled };
        failed |= b->sources[i].fd < 0 || watch(b, &b->sources[i]) != 0;
    }
    if (!failed) return b;
    baseline_destroy(b);
    return NULL;
}

/* Fires one source at a time: `hot` of them in turn, from the middle of all. */
long baseline_one_ready(struct baseline *b, long events, int hot)
{
    long before = b->handled;
    struct source *middle = &b->sources[b->count / 2 / hot * hot];
    for (long i = 0; i < events; i++) {
        if (fire(&middle[i % hot]) != 0) return -1;
        turn(b);
    }
    return b->handled - before;
}

/* Fires every source, then handles them all. */
long baseline_all_ready(struct baseline *b, long passes)
{
    long before = b->handled;
    for (long pass = 0; pass < passes; pass++) {
        for (int i = 0; i < b->count; i++)
            if (fire(&b->sources[i]) != 0) return -1;
        for (int handled = 0; handled < b->count;) handled += turn(b);
    }
    return b->handled - before;
}

/* Stops watching one source and starts again. */
long baseline_register(struct baseline *b, long pairs)
{
    struct source *middle = &b->sources[b->count / 2];
    for (long i = 0; i < pairs; i++) {
        if (epoll_ctl(b->set, EPOLL_CTL_DEL, middle->fd, NULL) != 0) return -1;
        if (watch(b, middle) != 0) return -1;
    }
    return pairs;
}
