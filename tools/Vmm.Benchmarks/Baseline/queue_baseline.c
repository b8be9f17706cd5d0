/*
 * The baseline of the queue comparison: a device's side of a virtqueue as plain C would have it, with every check the C# one makes. Each shared
 * field is read once, addresses are looked up in a sorted table of regions with the last hit tried first, buffers end up in an iovec.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

enum { NEXT = 1, WRITE = 2, INDIRECT = 4, NO_SIGNAL = 1, AVAILABLE = 1 << 7, USED = 1 << 15, BATCH = 16 };

struct region { uint64_t start, length; char *host; };

struct chain {
    struct iovec *segments;
    uint32_t count, capacity, readable;
    uint64_t readable_bytes, writable_bytes;
    uint16_t id, descriptors;
    bool in_flight;
};

struct queue {
    struct region *regions;
    int region_count;
    char *table, *driver, *device;
    uint32_t size, length;
    uint16_t next_available, available_end, next_used, published;
    bool wrap_available, wrap_used, packed;
    uint32_t taken;
    struct chain *chains;
    struct chain *scratch;
    uint64_t interrupts, faults;
};

static uint16_t load16(const char *at) { return atomic_load_explicit((const _Atomic uint16_t *)at, memory_order_acquire); }
static uint64_t load64(const char *at) { return atomic_load_explicit((const _Atomic uint64_t *)at, memory_order_acquire); }
static void store16(char *at, uint16_t value) { atomic_store_explicit((_Atomic uint16_t *)at, value, memory_order_release); }
static void store32(char *at, uint32_t value) { atomic_store_explicit((_Atomic uint32_t *)at, value, memory_order_release); }
static void store64(char *at, uint64_t value) { atomic_store_explicit((_Atomic uint64_t *)at, value, memory_order_release); }

static char *translate(const struct queue *q, uint64_t address, int *hint, uint64_t *available)
{
    const struct region *r = &q->regions[*hint];
    uint64_t offset = address - r->start;
    if (offset < r->length) {
        *available = r->length - offset;
        return r->host + offset;
    }
    int low = 0, high = q->region_count - 1;
    while (low <= high) {
        int middle = (low + high) / 2;
        r = &q->regions[middle];
        if (address < r->start) high = middle - 1;
        else if (address - r->start >= r->length) low = middle + 1;
        else {
            *hint = middle;
            *available = r->length - (address - r->start);
            return r->host + (address - r->start);
        }
    }
    return NULL;
}

static bool add(const struct queue *q, struct chain *c, uint64_t address, uint32_t length, bool writable, bool *seen_writable, uint64_t *bytes, int *hint)
{
    if (*seen_writable && !writable) return false;
    *seen_writable = writable;
    *bytes += length;
    if (*bytes > 1ull << 32) return false;
    while (length > 0) {
        uint64_t available;
        char *host = translate(q, address, hint, &available);
        if (!host) return false;
        uint32_t piece = available < length ? (uint32_t)available : length;
        if (c->count == c->capacity) {
            c->capacity = c->capacity ? c->capacity * 2 : 4;
            c->segments = realloc(c->segments, c->capacity * sizeof *c->segments);
        }
        c->segments[c->count++] = (struct iovec){ host, piece };
        if (writable) c->writable_bytes += piece;
        else {
            c->readable = c->count;
            c->readable_bytes += piece;
        }
        address += piece;
        length -= piece;
    }
    return true;
}

static void clear(struct chain *c)
{
    c->count = c->readable = 0;
    c->readable_bytes = c->writable_bytes = 0;
}

static struct chain *split_pop(struct queue *q)
{
    if (q->next_available == q->available_end) {
        uint16_t end = load16(q->driver + 2);
        if (end == q->next_available) return NULL;
        if ((uint16_t)(end - q->next_available) > q->size) goto fault;
        q->available_end = end;
    }
    uint16_t head = load16(q->driver + 4 + 2 * (q->next_available & (q->size - 1)));
    if (head >= q->size) goto fault;
    struct chain *c = &q->chains[head];
    if (c->in_flight) goto fault;
    clear(c);
    uint64_t bytes = 0;
    bool writable = false;
    int hint = 0;
    uint32_t index = head;
    for (uint32_t left = q->size < 1024 ? q->size : 1024; left > 0; left--) {
        uint64_t tail = load64(q->table + 16 * index + 8);
        uint64_t address = load64(q->table + 16 * index);
        uint16_t flags = tail >> 32;
        if (flags & INDIRECT) goto fault;
        if (!add(q, c, address, (uint32_t)tail, flags & WRITE, &writable, &bytes, &hint)) goto fault;
        if (!(flags & NEXT)) {
            c->id = head;
            c->in_flight = true;
            q->next_available++;
            return c;
        }
        index = tail >> 48;
        if (index >= q->size) goto fault;
    }
fault:
    q->faults++;
    return NULL;
}

static void split_push(struct queue *q, struct chain *c, uint32_t written)
{
    char *entry = q->device + 4 + 8 * (q->next_used & (q->size - 1));
    store32(entry, c->id);
    store32(entry + 4, written);
    q->next_used++;
    c->in_flight = false;
}

static void split_publish(struct queue *q)
{
    if (q->published == q->next_used) return;
    q->published = q->next_used;
    store16(q->device + 2, q->next_used);
    atomic_thread_fence(memory_order_seq_cst);
    if (!(load16(q->driver) & NO_SIGNAL)) q->interrupts++;
}

static struct chain *packed_pop(struct queue *q)
{
    uint16_t index = q->next_available;
    bool wrap = q->wrap_available;
    uint64_t tail = load64(q->table + 16 * index + 8);
    uint64_t address = load64(q->table + 16 * index);
    if (((tail >> 48) & (AVAILABLE | USED)) != (wrap ? AVAILABLE : USED)) return NULL;
    struct chain *c = q->scratch;
    clear(c);
    uint64_t bytes = 0;
    bool writable = false;
    int hint = 0;
    for (uint32_t count = 1; count <= q->size && count <= 1024; count++) {
        uint16_t flags = tail >> 48;
        if (++index == q->size) {
            index = 0;
            wrap = !wrap;
        }
        if (flags & INDIRECT) goto fault;
        if (!add(q, c, address, (uint32_t)tail, flags & WRITE, &writable, &bytes, &hint)) goto fault;
        if (!(flags & NEXT)) {
            uint16_t id = tail >> 32;
            if (id >= q->size || q->chains[id].in_flight || q->taken + count > q->size) goto fault;
            struct chain swap = q->chains[id];
            q->chains[id] = *c;
            *c = swap;
            c = &q->chains[id];
            c->id = id;
            c->descriptors = count;
            c->in_flight = true;
            q->taken += count;
            q->next_available = index;
            q->wrap_available = wrap;
            return c;
        }
        tail = load64(q->table + 16 * index + 8);
        address = load64(q->table + 16 * index);
    }
fault:
    q->faults++;
    return NULL;
}

static void packed_push(struct queue *q, struct chain *c, uint32_t written, char **first, uint16_t *first_flags)
{
    uint16_t flags = (q->wrap_used ? AVAILABLE | USED : 0) | (written ? WRITE : 0);
    char *entry = q->table + 16 * q->next_used;
    if (!*first) {
        *first = entry;
        *first_flags = flags;
        store32(entry + 8, written);
        store16(entry + 12, c->id);
    } else {
        store64(entry + 8, written | (uint64_t)c->id << 32 | (uint64_t)flags << 48);
    }
    uint32_t next = q->next_used + c->descriptors;
    if (next >= q->size) {
        next -= q->size;
        q->wrap_used = !q->wrap_used;
    }
    q->next_used = next;
    q->taken -= c->descriptors;
    c->in_flight = false;
}

static void packed_publish(struct queue *q, char *first, uint16_t flags)
{
    if (!first) return;
    store16(first + 14, flags);
    atomic_thread_fence(memory_order_seq_cst);
    if ((load16(q->driver + 2) & 3) != NO_SIGNAL) q->interrupts++;
}

/* The driver of both: the same BATCH chains over and over. */
static void split_rearm(struct queue *q) { store16(q->driver + 2, load16(q->driver + 2) + BATCH); }

static void packed_rearm(struct queue *q, bool wrap)
{
    uint64_t flags = (wrap ? AVAILABLE : USED) | (q->length > 1 ? NEXT : 0);
    for (uint64_t i = 0; i < BATCH; i++)
        store64(q->table + 16 * i * q->length + 8, 64 | i << 32 | flags << 48);
}

long queue_run(struct queue *q, long chains)
{
    long done = 0;
    while (done < chains) {
        struct chain *c;
        if (q->packed) {
            char *first = NULL;
            uint16_t flags = 0;
            packed_rearm(q, q->wrap_available);
            while ((c = packed_pop(q))) {
                packed_push(q, c, 64, &first, &flags);
                done++;
            }
            packed_publish(q, first, flags);
        } else {
            split_rearm(q);
            while ((c = split_pop(q))) {
                split_push(q, c, 64);
                done++;
            }
            split_publish(q);
        }
        if (q->faults) return -1;
    }
    return done;
}

struct queue *queue_create(bool packed, uint32_t size, uint32_t length, char *host, uint64_t host_length, uint64_t table, uint64_t driver, uint64_t device)
{
    struct queue *q = calloc(1, sizeof *q);
    q->packed = packed;
    q->size = size;
    q->length = length;
    q->region_count = 1;
    q->regions = calloc(1, sizeof *q->regions);
    q->regions[0] = (struct region){ 0, host_length, host };
    q->table = host + table;
    q->driver = host + driver;
    q->device = host + device;
    q->wrap_available = q->wrap_used = true;
    q->chains = calloc(size + 1, sizeof *q->chains);
    q->scratch = &q->chains[size];
    return q;
}

void queue_destroy(struct queue *q)
{
    for (uint32_t i = 0; i <= q->size; i++) free(q->chains[i].segments);
    free(q->chains);
    free(q->regions);
    free(q);
}
