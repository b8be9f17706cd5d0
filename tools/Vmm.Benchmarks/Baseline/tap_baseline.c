// A TAP interface of a benchmark's own: filled with frames by its other side, read and written by the plainest loops there are.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEADER = 12, FRAME_MAX = 1514, BATCH = 64, QUEUE = 16384 };

struct tap {
  int fd;
  int other;
  unsigned frame;
  unsigned char bytes[HEADER + FRAME_MAX];
};

// Brings an interface up, quiet, with a long queue, and opens its other side.
int tap_other_side(const char *name) {
  struct ifreq request = {0};
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  request.ifr_qlen = QUEUE;
  if (ioctl(fd, SIOCSIFTXQLEN, &request) < 0) goto failed;
  request.ifr_flags = IFF_UP | IFF_NOARP;
  if (ioctl(fd, SIOCSIFFLAGS, &request) < 0 || ioctl(fd, SIOCGIFINDEX, &request) < 0) goto failed;
  int bypass = 1;
  setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &bypass, sizeof bypass);
  // Protocol 0: it sends, and hears nothing.
  struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_ifindex = request.ifr_ifindex};
  if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
failed:
  close(fd);
  return -1;
}

// Puts frames into the interface's queue.
long tap_fill(int other, unsigned frame, long count) {
  unsigned char bytes[FRAME_MAX] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5};
  struct iovec vector = {bytes, frame};
  struct mmsghdr messages[BATCH] = {0};
  for (int i = 0; i < BATCH; i++) messages[i].msg_hdr = (struct msghdr){.msg_iov = &vector, .msg_iovlen = 1};
  long done = 0;
  while (done < count) {
    int sent = sendmmsg(other, messages, count - done < BATCH ? count - done : BATCH, MSG_DONTWAIT);
    if (sent <= 0) break;
    done += sent;
  }
  return done;
}

struct tap *tap_create(const char *name, unsigned frame) {
  struct tap *tap = calloc(1, sizeof *tap);
  struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
  int header = HEADER;
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  tap->frame = frame;
  tap->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tap->fd >= 0 && ioctl(tap->fd, TUNSETIFF, &request) == 0 && ioctl(tap->fd, TUNSETVNETHDRSZ, &header) == 0 &&
      (tap->other = tap_other_side(name)) >= 0) {
    static const unsigned char start[] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5};
    memcpy(tap->bytes + HEADER, start, sizeof start);
    return tap;
  }
  if (tap->fd >= 0) close(tap->fd);
  free(tap);
  return NULL;
}

int tap_other(struct tap *tap) { return tap->other; }

long tap_read(struct tap *tap, long count) {
  for (long done = 0; done < count; done++) {
    if (read(tap->fd, tap->bytes, sizeof tap->bytes) <= 0) return done;
  }
  return count;
}

long tap_write(struct tap *tap, long count) {
  memset(tap->bytes, 0, HEADER);
  for (long done = 0; done < count; done++) {
    if (write(tap->fd, tap->bytes, HEADER + tap->frame) <= 0) return done;
  }
  return count;
}

void tap_destroy(struct tap *tap) {
  close(tap->other);
  close(tap->fd);
  free(tap);
}
