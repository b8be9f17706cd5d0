// peer COMMAND …: the host's side of a guest that is nested in another (nest.sh), where nothing but busybox is. Exits with 0 if all was as it should be.
//   echo PLACE               gives back what it gets, at a TCP port or the path of a Unix socket, to any number of connections
//   verify BASE PORT KIB     connects to a vsock port of the guest whose program echoes, compares so many KiB, then says "quit"
//   talk PATH HEAR SAY LAST  connects to a Unix socket, waits for a line, says one, and waits for the last one
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCK = 4096, SECONDS_MAX = 120 };

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static struct sockaddr_un at(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    return address;
}

static int listen_at(const char *place)
{
    struct sockaddr_un unix_address = at(place);
    struct sockaddr_in tcp_address = { .sin_family = AF_INET, .sin_port = htons(atoi(place)) };
    int is_path = place[0] == '/';
    int fd = socket(is_path ? AF_UNIX : AF_INET, SOCK_STREAM, 0);
    struct sockaddr *address = is_path ? (struct sockaddr *)&unix_address : (struct sockaddr *)&tcp_address;
    if (bind(fd, address, is_path ? sizeof unix_address : sizeof tcp_address) < 0 || listen(fd, 128) < 0) fail(place);
    return fd;
}

static void echo(const char *place)
{
    int listener = listen_at(place);
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) fail("accept");
        if (fork() == 0) {
            char bytes[BLOCK];
            for (ssize_t got; (got = read(fd, bytes, sizeof bytes)) > 0;) {
                for (ssize_t done = 0, now; done < got; done += now)
                    if ((now = write(fd, bytes + done, got - done)) <= 0) fail("write");
            }
            exit(0);
        }
        close(fd);
    }
}

// The other side may not have come up yet.
static int connect_to(const char *path)
{
    struct sockaddr_un address = at(path);
    for (int second = 0; second < SECONDS_MAX; second++, sleep(1)) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
        close(fd);
    }
    fail(path);
    return -1;
}

static void read_line(int fd, char *line, size_t size)
{
    size_t length = 0;
    while (length < size - 1 && read(fd, line + length, 1) == 1 && line[length] != '\n') length++;
    line[length] = 0;
}

static int connect_to_port(const char *base, const char *port)
{
    char line[64];
    int fd = connect_to(base);
    dprintf(fd, "CONNECT %s\n", port);
    read_line(fd, line, sizeof line);
    if (strncmp(line, "OK ", 3) != 0) fail("the guest's port");
    return fd;
}

static void verify(const char *base, const char *port, int kib)
{
    int fd = connect_to_port(base, port);
    unsigned char sent[1024], got[1024];
    for (int block = 0; block < kib; block++) {
        for (size_t i = 0; i < sizeof sent; i++) sent[i] = (unsigned char)(i * 7 + block);
        if (write(fd, sent, sizeof sent) != sizeof sent) fail("write");
        for (size_t done = 0; done < sizeof got;) {
            ssize_t now = read(fd, got + done, sizeof got - done);
            if (now <= 0) fail("read");
            done += now;
        }
        if (memcmp(sent, got, sizeof sent) != 0) fail("other bytes came back");
    }
    close(fd);
    fd = connect_to_port(base, port);
    dprintf(fd, "quit");
    read(fd, got, 1);
}

static void wait_for(int fd, const char *text)
{
    for (char line[256];;) {
        read_line(fd, line, sizeof line);
        if (line[0] == 0) fail("the other side ended");
        if (strstr(line, text)) return;
    }
}

static void talk(const char *path, const char *hear, const char *say, const char *last)
{
    int fd = connect_to(path);
    wait_for(fd, hear);
    dprintf(fd, "%s\n", say);
    wait_for(fd, last);
}

int main(int count, char **words)
{
    if (count == 3 && strcmp(words[1], "echo") == 0) echo(words[2]);
    else if (count == 5 && strcmp(words[1], "verify") == 0) verify(words[2], words[3], atoi(words[4]));
    else if (count == 6 && strcmp(words[1], "talk") == 0) talk(words[2], words[3], words[4], words[5]);
    else return 2;
    return 0;
}
