// netecho PORT: gives back what comes, to as many connections as come.
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int count, char **words) {
  if (count != 2) return 2;
  signal(SIGCHLD, SIG_IGN);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1]))};
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 128) != 0) return perror("netecho"), 1;
  for (int fd; (fd = accept(listener, NULL, NULL)) >= 0; close(fd)) {
    if (fork() != 0) continue;
    char bytes[65536];
    for (ssize_t got; (got = read(fd, bytes, sizeof bytes)) > 0;) {
      for (ssize_t sent = 0, now; sent < got; sent += now) {
        if ((now = write(fd, bytes + sent, got - sent)) <= 0) _exit(1);
      }
    }
    _exit(0);
  }
  return 1;
}
