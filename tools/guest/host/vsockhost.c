// vsockhost COMMAND PATH …: programs of the host that meet a guest's sockets at Unix sockets, for hosts that have nothing but busybox. Exits with 0 if
// all was as it should be.
//   echo PATH             listens, and gives everything back
//   ask PATH PORT KIB     connects to a port of the guest that echoes, and compares so many KiB
//   quit PATH PORT        tells a port of the guest to end
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCK = 16 * 1024 };

static char block[BLOCK], back[BLOCK];

static void fail(const char *what)
{
    printf("vsockhost: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void put(int fd, const char *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t now = write(fd, bytes + done, length - done);
        if (now < 0) fail("write");
        done += now;
    }
}

static struct sockaddr_un address(const char *path)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    strncpy(at.sun_path, path, sizeof at.sun_path - 1);
    return at;
}

static void echo(const char *path)
{
    struct sockaddr_un at = address(path);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(listener, 128) < 0) fail("listen");
    signal(SIGCHLD, SIG_IGN);
    for (int fd; (fd = accept(listener, NULL, NULL)) >= 0; close(fd)) {
        if (fork() != 0) continue;
        for (ssize_t got; (got = read(fd, block, BLOCK)) > 0;) put(fd, block, got);
        exit(0);
    }
}

static int reach(const char *path, const char *port)
{
    struct sockaddr_un at = address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    char line[32], said = 0;
    if (connect(fd, (struct sockaddr *)&at, sizeof at) < 0) fail("connect");
    put(fd, line, snprintf(line, sizeof line, "CONNECT %s\n", port));
    if (read(fd, line, 3) != 3 || memcmp(line, "OK ", 3) != 0) fail("the guest did not accept");
    while (said != '\n' && read(fd, &said, 1) == 1) { }
    return fd;
}

static void fill(long at) { for (int i = 0; i < BLOCK; i++) block[i] = (char)(at / BLOCK * 31 + i * 7 + i / 256); }

static void ask(const char *path, const char *port, long bytes)
{
    int fd = reach(path, port);
    if (fork() == 0) {
        for (long at = 0; at < bytes; at += BLOCK) {
            fill(at);
            put(fd, block, BLOCK);
        }
        shutdown(fd, SHUT_WR);
        exit(0);
    }
    for (long at = 0; at < bytes; at += BLOCK) {
        for (size_t done = 0; done < BLOCK;) {
            ssize_t now = read(fd, back + done, BLOCK - done);
            if (now <= 0) fail("the echo ended early");
            done += now;
        }
        fill(at);
        if (memcmp(block, back, BLOCK) != 0) fail("other bytes came back");
    }
    if (read(fd, back, 1) != 0) fail("more bytes than were sent");
    wait(NULL);
    printf("vmm-host echoed %ld\n", bytes);
}

int main(int count, char **words)
{
    const char *command = count > 2 ? words[1] : "";
    if (strcmp(command, "echo") == 0) echo(words[2]);
    else if (strcmp(command, "ask") == 0 && count == 5) ask(words[2], words[3], atol(words[4]) * 1024);
    else if (strcmp(command, "quit") == 0 && count == 4) put(reach(words[2], words[3]), "quit", 4);
    else { printf("vsockhost: no such command\n"); return 2; }
    return 0;
}
