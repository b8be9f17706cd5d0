// vsocktest COMMAND …: a program of the guest that talks to programs of the host over AF_VSOCK, and verifies every byte. Exits with 0 if all was as it
// should be.
//   cid                        the guest's context id
//   exchange PORT MIB          sends and receives so many MiB of a pattern at the same time
//   many PORT COUNT AT_ONCE    so many connections, each of which has its words echoed
//   halves PORT                ends its sending first, then hears the answer; once more the other way round
//   refused PORT               nobody listens there
//   stall PORT OTHER           fills a connection that nobody reads, has another one echoed meanwhile, and is read in the end
//   leave PORT BYTES           sends so many bytes of the pattern and closes, though the host reads nothing
//   messages PORT              messages of many lengths, echoed whole
//   stream PORT COUNT STOP     sends the pattern to an echo and compares, connects anew where a connection is reset, writes to a file how many KiB came
//                              back, until another file is there
//   serve PORT                 echoes whoever connects, until one says "quit"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

enum { MIB = 1 << 20, BLOCK = 64 * 1024, MESSAGE_MAX = 100 * 1000 };

static char block[BLOCK > MESSAGE_MAX ? BLOCK : MESSAGE_MAX], other[MESSAGE_MAX];

static void fail(const char *what)
{
    printf("vsocktest: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void expect(int so, const char *what)
{
    if (!so) { errno = 0; fail(what); }
}

static struct sockaddr_vm address(unsigned cid, unsigned port)
{
    return (struct sockaddr_vm){ .svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port };
}

static int try_connect(int type, unsigned port)
{
    struct sockaddr_vm host = address(VMADDR_CID_HOST, port);
    int fd = socket(AF_VSOCK, type, 0);
    if (fd < 0) fail("socket");
    if (connect(fd, (struct sockaddr *)&host, sizeof host) == 0) return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int connected(int type, unsigned port)
{
    int fd = try_connect(type, port);
    if (fd < 0) fail("connect");
    return fd;
}

static void put(int fd, const char *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t now = send(fd, bytes + done, length - done, 0);
        if (now < 0) fail("send");
        done += now;
    }
}

// Reads until there are so many bytes, or the end.
static size_t take(int fd, char *bytes, size_t length)
{
    size_t done = 0;
    while (done < length) {
        ssize_t now = recv(fd, bytes + done, length - done, 0);
        if (now < 0) fail("recv");
        if (now == 0) break;
        done += now;
    }
    return done;
}

// Every 8 bytes tell where they are, and which way they go.
static uint64_t word(uint64_t offset, uint64_t way) { return (offset + 1) * (way ? 0x9e3779b97f4a7c15ull : 0xc2b2ae3d27d4eb4full); }

static void exchange(unsigned port, uint64_t bytes)
{
    int fd = connected(SOCK_STREAM, port);
    pid_t sender = fork();
    if (sender == 0) {
        for (uint64_t at = 0; at < bytes; at += BLOCK) {
            for (uint64_t i = 0; i < BLOCK; i += 8) *(uint64_t *)(block + i) = word(at + i, 0);
            put(fd, block, BLOCK);
        }
        if (shutdown(fd, SHUT_WR) < 0) fail("shutdown");
        exit(0);
    }
    for (uint64_t at = 0; at < bytes; at += BLOCK) {
        expect(take(fd, block, BLOCK) == BLOCK, "the stream ended early");
        for (uint64_t i = 0; i < BLOCK; i += 8) expect(*(uint64_t *)(block + i) == word(at + i, 1), "wrong bytes");
    }
    expect(take(fd, block, 1) == 0, "more bytes than there should be");
    int status;
    waitpid(sender, &status, 0);
    expect(status == 0, "the sender failed");
}

static void echoed(int fd, unsigned number)
{
    char words[64], back[64];
    int length = snprintf(words, sizeof words, "connection %u", number);
    put(fd, words, length);
    expect(take(fd, back, length) == (size_t)length && memcmp(words, back, length) == 0, "wrong words came back");
}

static void many(unsigned port, int count, int at_once)
{
    int *fds = calloc(at_once, sizeof *fds);
    for (int done = 0; done < count; done += at_once) {
        for (int i = 0; i < at_once; i++) fds[i] = connected(SOCK_STREAM, port);
        for (int i = 0; i < at_once; i++) echoed(fds[i], done + i);
        for (int i = 0; i < at_once; i++) close(fds[i]);
    }
}

static void halves(unsigned port)
{
    int fd = connected(SOCK_STREAM, port);
    put(fd, "first me", 8);
    if (shutdown(fd, SHUT_WR) < 0) fail("shutdown");
    expect(take(fd, block, sizeof block) == 8 && memcmp(block, "then you", 8) == 0, "no answer behind the end");
    close(fd);

    fd = connected(SOCK_STREAM, port);
    put(fd, "you end!", 8);
    expect(take(fd, block, sizeof block) == 3 && memcmp(block, "end", 3) == 0, "the other side did not end");
    put(fd, "still me", 8);
    close(fd);
}

static void refused(unsigned port)
{
    expect(try_connect(SOCK_STREAM, port) < 0 && errno == ECONNRESET, "a port nobody listens on was not refused");
    expect(try_connect(SOCK_SEQPACKET, port) < 0, "a port nobody listens on took messages");
}

static void stall(unsigned port, unsigned neighbour)
{
    int fd = connected(SOCK_STREAM, port);
    uint64_t sent = 0;
    for (;;) {
        for (uint64_t i = 0; i < BLOCK; i++) {
            uint64_t whole = word((sent + i) / 8 * 8, 0);
            block[i] = ((char *)&whole)[(sent + i) % 8];
        }
        ssize_t now = send(fd, block, BLOCK, MSG_DONTWAIT);
        if (now > 0) sent += now;
        else if (errno != EAGAIN) fail("send");
        // The device takes some more when its own queue moves on: full is what stays full.
        else if (poll(&(struct pollfd){ .fd = fd, .events = POLLOUT }, 1, 500) == 0) break;
    }
    many(neighbour, 10, 5);
    printf("vmm-vsock stalled %llu\n", (unsigned long long)sent);
    fflush(stdout);
    if (shutdown(fd, SHUT_WR) < 0) fail("shutdown");
    uint64_t counted;
    expect(take(fd, (char *)&counted, 8) == 8 && counted == sent, "the host counted other bytes");
}

static void leave(unsigned port, size_t bytes)
{
    int fd = connected(SOCK_STREAM, port);
    for (size_t at = 0; at < bytes; at += BLOCK) {
        for (uint64_t i = 0; i < BLOCK; i += 8) *(uint64_t *)(block + i) = word(at + i, 0);
        put(fd, block, bytes - at < BLOCK ? bytes - at : BLOCK);
    }
    close(fd);
}

static void messages(unsigned port)
{
    int fd = connected(SOCK_SEQPACKET, port);
    for (int length = 1; length <= MESSAGE_MAX; length = length * 3 + 1) {
        for (int i = 0; i < length; i++) block[i] = (char)(i * 7 + length);
        if (send(fd, block, length, 0) != length) fail("send");
        ssize_t back = recv(fd, other, sizeof other, 0);
        if (back < 0) fail("recv");
        expect(back == length && memcmp(block, other, length) == 0, "another message came back");
    }
    close(fd);
}

static unsigned connections;

static int was_reset(int error)
{
    return error == ECONNRESET || error == ENOTCONN || error == EPIPE;
}

// One connection of a stream. Returns when it was reset, with how many blocks had come back.
static uint64_t stream_once(unsigned port, uint64_t blocks, const char *count, const char *stop)
{
    static char back[BLOCK];
    int fd = try_connect(SOCK_STREAM, port);
    // A reset of the transport ends what is connected, in Linux. What was about to be gets no answer, and its time runs out.
    if (fd < 0 && (was_reset(errno) || errno == ETIMEDOUT)) return blocks;
    if (fd < 0) fail("connect");
    connections++;
    for (; access(stop, F_OK) != 0; blocks++) {
        for (uint64_t i = 0; i < BLOCK; i += 8) *(uint64_t *)(block + i) = word(blocks * BLOCK + i, 0);
        ssize_t now = 0;
        for (size_t done = 0; done < BLOCK && (now = send(fd, block + done, BLOCK - done, MSG_NOSIGNAL)) >= 0; done += now) { }
        for (size_t done = 0; done < BLOCK && now >= 0; done += now) {
            now = recv(fd, back + done, BLOCK - done, 0);
            if (now == 0) { errno = ECONNRESET; now = -1; }
        }
        if (now < 0 && !was_reset(errno)) fail("stream");
        if (now < 0) break;
        expect(memcmp(block, back, BLOCK) == 0, "other bytes came back");
        FILE *file = fopen(count, "w");
        if (!file) fail(count);
        fprintf(file, "%llu\n", (unsigned long long)(blocks + 1) * BLOCK / 1024);
        fclose(file);
    }
    close(fd);
    return blocks;
}

static void stream(unsigned port, const char *count, const char *stop)
{
    for (uint64_t blocks = 0; access(stop, F_OK) != 0;) blocks = stream_once(port, blocks, count, stop);
    printf("vmm-vsock connections %u\n", connections);
}

static void serve(unsigned port)
{
    struct sockaddr_vm any = address(VMADDR_CID_ANY, port);
    int listener = socket(AF_VSOCK, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&any, sizeof any) < 0 || listen(listener, 128) < 0) fail("listen");
    signal(SIGCHLD, SIG_IGN);
    printf("vmm-vsock serving %u\n", port);
    fflush(stdout);
    for (;;) {
        struct sockaddr_vm peer;
        socklen_t length = sizeof peer;
        int fd = accept(listener, (struct sockaddr *)&peer, &length);
        if (fd < 0) fail("accept");
        expect(peer.svm_cid == VMADDR_CID_HOST, "somebody else than the host connected");
        ssize_t got = recv(fd, block, 4, MSG_PEEK);
        if (got == 4 && memcmp(block, "quit", 4) == 0) return;
        if (fork() == 0) {
            while ((got = recv(fd, block, sizeof block, 0)) > 0) put(fd, block, got);
            if (got < 0) fail("recv");
            exit(0);
        }
        close(fd);
    }
}

static void show_cid(void)
{
    unsigned cid;
    int fd = open("/dev/vsock", O_RDONLY);
    if (fd < 0 || ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) < 0) fail("/dev/vsock");
    printf("vmm-vsock cid %u\n", cid);
}

int main(int count, char **words)
{
    const char *command = count > 1 ? words[1] : "";
    unsigned number[3] = { 0 };
    for (int i = 2; i < count && i < 5; i++) number[i - 2] = strtoul(words[i], NULL, 10);
    if (strcmp(command, "cid") == 0) show_cid();
    else if (strcmp(command, "exchange") == 0) exchange(number[0], (uint64_t)number[1] * MIB);
    else if (strcmp(command, "many") == 0) many(number[0], number[1], number[2]);
    else if (strcmp(command, "halves") == 0) halves(number[0]);
    else if (strcmp(command, "refused") == 0) refused(number[0]);
    else if (strcmp(command, "stall") == 0) stall(number[0], number[1]);
    else if (strcmp(command, "leave") == 0) leave(number[0], number[1]);
    else if (strcmp(command, "messages") == 0) messages(number[0]);
    else if (strcmp(command, "stream") == 0 && count == 5) stream(number[0], words[3], words[4]);
    else if (strcmp(command, "serve") == 0) serve(number[0]);
    else { printf("vsocktest: no such command\n"); return 2; }
    return 0;
}
