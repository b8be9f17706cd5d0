// A call to a thread that spins until there is one, and the wait for its answer: two words of memory and nothing else. Between two runs the
// thread sleeps, so that others have its processor.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>

struct server {
    _Alignas(64) atomic_long asked;
    _Alignas(64) atomic_long answered;
    atomic_int runs;
    sem_t go, rests;
    int ends;
    int cpu;
    pthread_t thread;
};

static void pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

static void *serve(void *argument) {
    struct server *server = argument;
    long calls = 0;
    pin(server->cpu);
    for (;;) {
        sem_wait(&server->go);
        if (server->ends) return NULL;
        while (atomic_load_explicit(&server->runs, memory_order_relaxed)) {
            long asked = atomic_load_explicit(&server->asked, memory_order_acquire);
            if (asked == calls) {
                __builtin_ia32_pause();
                continue;
            }
            calls = asked;
            atomic_store_explicit(&server->answered, calls, memory_order_release);
        }
        sem_post(&server->rests);
    }
}

struct server *baseline_create(int cpu) {
    struct server *server = aligned_alloc(64, sizeof *server);
    if (!server) return NULL;
    atomic_init(&server->asked, 0);
    atomic_init(&server->answered, 0);
    atomic_init(&server->runs, 0);
    sem_init(&server->go, 0, 0);
    sem_init(&server->rests, 0, 0);
    server->ends = 0;
    server->cpu = cpu;
    if (pthread_create(&server->thread, NULL, serve, server)) {
        free(server);
        return NULL;
    }
    return server;
}

void baseline_destroy(struct server *server) {
    server->ends = 1;
    sem_post(&server->go);
    pthread_join(server->thread, NULL);
    free(server);
}

void baseline_call(struct server *server, long calls) {
    long asked = atomic_load(&server->asked);
    atomic_store(&server->runs, 1);
    sem_post(&server->go);
    for (long i = 0; i < calls; i++) {
        atomic_store_explicit(&server->asked, ++asked, memory_order_release);
        while (atomic_load_explicit(&server->answered, memory_order_acquire) != asked) __builtin_ia32_pause();
    }
    atomic_store(&server->runs, 0);
    sem_wait(&server->rests);
}
