// nettest ADDRESS PORT CONNECTIONS BYTES: so many connections at once to a server that gives back what it gets, each with bytes of its own, compared.
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHUNK = 4096 };

static int all(ssize_t (*transfer)(int, void *, size_t), int fd, char *bytes, size_t length) {
  for (size_t done = 0; done < length;) {
    ssize_t now = transfer(fd, bytes + done, length - done);
    if (now <= 0) return 0;
    done += now;
  }
  return 1;
}

static ssize_t put(int fd, void *bytes, size_t length) { return write(fd, bytes, length); }

static int echo(const struct sockaddr_in *server, unsigned seed, long bytes) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(fd, (const struct sockaddr *)server, sizeof *server) != 0) return perror("connect"), 1;
  char sent[CHUNK], got[CHUNK];
  for (long left = bytes; left > 0; left -= CHUNK) {
    for (int i = 0; i < CHUNK; i++) sent[i] = rand_r(&seed);
    if (!all(put, fd, sent, CHUNK) || !all(read, fd, got, CHUNK)) return perror("echo"), 1;
    if (memcmp(sent, got, CHUNK) != 0) return fprintf(stderr, "other bytes came back\n"), 1;
  }
  close(fd);
  return 0;
}

int main(int count, char **words) {
  if (count != 5) return 2;
  struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(atoi(words[2]))};
  inet_pton(AF_INET, words[1], &server.sin_addr);
  int connections = atoi(words[3]), failed = 0;
  for (int i = 0; i < connections; i++) {
    if (fork() == 0) _exit(echo(&server, i + 1, atol(words[4])));
  }
  for (int status; wait(&status) > 0;) failed += status != 0;
  if (failed == 0) printf("vmm-net connections %d\n", connections);
  return failed != 0;
}
