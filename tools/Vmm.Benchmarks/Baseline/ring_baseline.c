/*
 * The baseline of the ring comparison: random reads of blocks of one file through io_uring as plain C would do them, with no library. As many reads
 * as the depth are kept in flight; completions are taken in batches, and the next reads submitted together. The file and the buffers are the
 * caller's choice of plain or O_DIRECT.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCK 4096

struct loop {
    int ring, file;
    uint32_t depth;
    uint64_t blocks, random;
    _Atomic uint32_t *sq_tail, *cq_head, *cq_tail;
    uint32_t sq_mask, cq_mask, tail;
    struct io_uring_sqe *entries;
    struct io_uring_cqe *completions;
    void *rings;
    size_t rings_length, entries_length;
    char *buffers;
};

static uint64_t next_block(struct loop *l)
{
    l->random ^= l->random << 13;
    l->random ^= l->random >> 7;
    l->random ^= l->random << 17;
    return l->random % l->blocks;
}

void ring_destroy(struct loop *l)
{
    if (!l) return;
    if (l->entries) munmap(l->entries, l->entries_length);
    if (l->rings) munmap(l->rings, l->rings_length);
    if (l->ring >= 0) close(l->ring);
    if (l->file >= 0) close(l->file);
    free(l->buffers);
    free(l);
}

struct loop *ring_create(const char *path, int direct, uint32_t depth, uint64_t blocks)
{
    struct loop *l = calloc(1, sizeof *l);
    l->ring = l->file = -1;
    l->depth = depth;
    l->blocks = blocks;
    l->random = 88172645463325252ull;
    l->file = open(path, O_RDONLY | O_CLOEXEC | (direct ? O_DIRECT : 0));
    struct io_uring_params p = { .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN };
    if (l->file < 0 || (l->ring = (int)syscall(SYS_io_uring_setup, depth, &p)) < 0) goto fail;
    if (syscall(SYS_io_uring_register, l->ring, IORING_REGISTER_FILES, &l->file, 1) < 0) goto fail;
    size_t sq = p.sq_off.array + p.sq_entries * sizeof(uint32_t);
    size_t cq = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    l->rings_length = sq > cq ? sq : cq;
    l->entries_length = p.sq_entries * sizeof(struct io_uring_sqe);
    l->rings = mmap(0, l->rings_length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, l->ring, IORING_OFF_SQ_RING);
    l->entries = mmap(0, l->entries_length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, l->ring, IORING_OFF_SQES);
    if (l->rings == MAP_FAILED || l->entries == MAP_FAILED) goto fail;
    char *base = l->rings;
    l->sq_tail = (void *)(base + p.sq_off.tail);
    l->sq_mask = *(uint32_t *)(base + p.sq_off.ring_mask);
    l->cq_head = (void *)(base + p.cq_off.head);
    l->cq_tail = (void *)(base + p.cq_off.tail);
    l->cq_mask = *(uint32_t *)(base + p.cq_off.ring_mask);
    l->completions = (void *)(base + p.cq_off.cqes);
    uint32_t *array = (void *)(base + p.sq_off.array);
    for (uint32_t i = 0; i < p.sq_entries; i++) array[i] = i;
    if (posix_memalign((void **)&l->buffers, BLOCK, (size_t)depth * BLOCK)) goto fail;
    return l;
fail:
    ring_destroy(l);
    return 0;
}

static void prepare(struct loop *l, uint64_t slot)
{
    struct io_uring_sqe *e = &l->entries[l->tail++ & l->sq_mask];
    memset(e, 0, sizeof *e);
    e->opcode = IORING_OP_READ;
    e->flags = IOSQE_FIXED_FILE;
    e->fd = 0;
    e->addr = (uint64_t)(l->buffers + slot * BLOCK);
    e->len = BLOCK;
    e->off = next_block(l) * BLOCK;
    e->user_data = slot;
}

/* So many reads, to the end of the last one. Gives how many were whole. */
int64_t ring_run(struct loop *l, int64_t operations)
{
    int64_t begun = 0, done = 0, whole = 0;
    uint32_t unsubmitted = 0;
    for (uint32_t slot = 0; slot < l->depth && begun < operations; slot++, begun++, unsubmitted++) prepare(l, slot);
    while (done < operations) {
        atomic_store_explicit(l->sq_tail, l->tail, memory_order_release);
        if (syscall(SYS_io_uring_enter, l->ring, unsubmitted, 1, IORING_ENTER_GETEVENTS, 0, 0) < 0) return -1;
        unsubmitted = 0;
        uint32_t head = atomic_load_explicit(l->cq_head, memory_order_relaxed);
        uint32_t tail = atomic_load_explicit(l->cq_tail, memory_order_acquire);
        for (; head != tail; head++, done++) {
            struct io_uring_cqe *c = &l->completions[head & l->cq_mask];
            whole += c->res == BLOCK;
            if (begun < operations) {
                prepare(l, c->user_data);
                begun++;
                unsubmitted++;
            }
        }
        atomic_store_explicit(l->cq_head, head, memory_order_release);
    }
    return whole;
}
