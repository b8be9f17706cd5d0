// disktest DISK [FILE]: writes and reads a whole disk at random places past the page cache, from one process for each processor, and verifies
// every byte, a few hundred times, or until FILE is there; then has the disk flush, discard and write zeroes, and verifies that too. Exits with 0 if
// all was as it should be.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SECTOR = 512, TRANSFER_MAX = 64 * 1024, ROUNDS = 300 };

static void fail(const char *what, uint64_t offset)
{
    printf("disktest: %s at %llu: %s\n", what, (unsigned long long)offset, strerror(errno));
    exit(1);
}

// Every 8 bytes tell where they are and in which round they were written.
static void fill(uint64_t *words, size_t bytes, uint64_t offset, uint64_t round)
{
    for (size_t i = 0; i < bytes / 8; i++) words[i] = (offset + i * 8) ^ (round * 0x9e3779b97f4a7c15ull);
}

static void verify(const uint64_t *words, size_t bytes, uint64_t offset, uint64_t round)
{
    for (size_t i = 0; i < bytes / 8; i++)
        if (words[i] != ((offset + i * 8) ^ (round * 0x9e3779b97f4a7c15ull))) { errno = 0; fail("wrong bytes", offset + i * 8); }
}

static void verify_zero(int disk, uint64_t *buffer, uint64_t offset, uint64_t bytes)
{
    for (uint64_t done = 0; done < bytes; done += TRANSFER_MAX) {
        if (pread(disk, buffer, TRANSFER_MAX, offset + done) != TRANSFER_MAX) fail("read", offset + done);
        for (size_t i = 0; i < TRANSFER_MAX / 8; i++)
            if (buffer[i] != 0) { errno = 0; fail("not zero", offset + done + i * 8); }
    }
}

// Works on a part of the disk that is its own, so that it knows what must be there.
static void work(const char *path, uint64_t start, uint64_t bytes, const char *end, unsigned seed)
{
    int disk = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (disk < 0) fail("open", 0);
    uint64_t *buffer;
    if (posix_memalign((void **)&buffer, 4096, TRANSFER_MAX)) fail("memory", 0);
    srandom(seed);
    uint64_t slots = bytes / TRANSFER_MAX;
    for (uint64_t round = 1; end ? access(end, F_OK) != 0 : round <= ROUNDS; round++) {
        uint64_t slot = start + (uint64_t)random() % slots * TRANSFER_MAX;
        size_t sectors = 1 + random() % (TRANSFER_MAX / SECTOR);
        uint64_t offset = slot + (uint64_t)(random() % (TRANSFER_MAX / SECTOR - sectors + 1)) * SECTOR;
        size_t length = sectors * SECTOR;
        fill(buffer, length, offset, round);
        if (pwrite(disk, buffer, length, offset) != (ssize_t)length) fail("write", offset);
        memset(buffer, 0xee, length);
        if (pread(disk, buffer, length, offset) != (ssize_t)length) fail("read", offset);
        verify(buffer, length, offset, round);
        if (round % 50 == 0 && fsync(disk)) fail("flush", offset);
    }
    // A slot at the start is zeroed and one after it discarded; a neighbour of both must stay.
    fill(buffer, TRANSFER_MAX, start + 2 * TRANSFER_MAX, 7);
    if (pwrite(disk, buffer, TRANSFER_MAX, start + 2 * TRANSFER_MAX) != TRANSFER_MAX) fail("write", start);
    uint64_t zeroed[2] = { start, TRANSFER_MAX }, discarded[2] = { start + TRANSFER_MAX, TRANSFER_MAX };
    if (ioctl(disk, BLKZEROOUT, zeroed)) fail("write-zeroes", start);
    verify_zero(disk, buffer, start, TRANSFER_MAX);
    if (ioctl(disk, BLKDISCARD, discarded)) fail("discard", start);
    verify_zero(disk, buffer, start + TRANSFER_MAX, TRANSFER_MAX);
    if (pread(disk, buffer, TRANSFER_MAX, start + 2 * TRANSFER_MAX) != TRANSFER_MAX) fail("read", start);
    verify(buffer, TRANSFER_MAX, start + 2 * TRANSFER_MAX, 7);
    if (fsync(disk)) fail("flush", start);
    exit(0);
}

int main(int count, char **arguments)
{
    if (count < 2) return 2;
    int disk = open(arguments[1], O_RDONLY);
    uint64_t bytes;
    if (disk < 0 || ioctl(disk, BLKGETSIZE64, &bytes)) fail("open", 0);
    long workers = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t share = bytes / workers / TRANSFER_MAX * TRANSFER_MAX;
    for (long i = 0; i < workers; i++) {
        pid_t child = fork();
        if (child < 0) fail("fork", 0);
        if (child == 0) work(arguments[1], share * i, share, count > 2 ? arguments[2] : NULL, 1 + i);
    }
    int status, worst = 0;
    while (wait(&status) > 0) if (status) worst = 1;
    return worst;
}
