/*
 * The limit: the least an NBD server can do for a READ or a WRITE. It serves one file on a unix
 * socket: a blocking thread a client, requests received many at a time, pread(2) and pwrite(2), and the replies of what came in together sent together. Structured
 * replies are given to who asks for them, as every server here does: libnbd makes four receives of one, and two of a simple reply. It checks nothing a well-behaved client does not need, so it is no server to use: only a column of the
 * benchmark, which says how much of a cell is the kernel's and the client's.
 *
 *   limit SOCKET FILE
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { IN_BYTES = 256 << 10, OUT_BYTES = 256 << 10, REQUEST = 28, REPLY = 16, LONGEST = 32 << 20 };
enum { CHUNK = 28, DONE = 1, OFFSET_DATA = 1 };
enum { READ = 0, WRITE = 1, DISC = 2, FLUSH = 3, FUA = 1, NBD_EIO = 5, NBD_EINVAL = 22 };
enum { OPT_EXPORT_NAME = 1, OPT_ABORT = 2, OPT_INFO = 6, OPT_GO = 7, OPT_STRUCTURED = 8 };

static int disk;
static uint64_t disk_bytes;

static int take(int fd, void *to, size_t bytes) {
  return bytes == 0 || recv(fd, to, bytes, MSG_WAITALL) == (ssize_t)bytes;
}

static int give(int fd, const char *from, size_t bytes) {
  while (bytes > 0) {
    ssize_t sent = send(fd, from, bytes, MSG_NOSIGNAL);
    if (sent <= 0) return 0;
    from += sent;
    bytes -= sent;
  }
  return 1;
}

static void put16(char *at, uint16_t v) { v = htobe16(v); memcpy(at, &v, 2); }
static void put32(char *at, uint32_t v) { v = htobe32(v); memcpy(at, &v, 4); }
static void put64(char *at, uint64_t v) { v = htobe64(v); memcpy(at, &v, 8); }
static uint16_t get16(const char *at) { uint16_t v; memcpy(&v, at, 2); return be16toh(v); }
static uint32_t get32(const char *at) { uint32_t v; memcpy(&v, at, 4); return be32toh(v); }
static uint64_t get64(const char *at) { uint64_t v; memcpy(&v, at, 8); return be64toh(v); }

static int answer_option(int fd, uint32_t option, uint32_t type, const char *data, uint32_t bytes) {
  char head[20];
  put64(head, 0x3e889045565a9ULL);
  put32(head + 8, option);
  put32(head + 12, type);
  put32(head + 16, bytes);
  return give(fd, head, sizeof head) && give(fd, data, bytes);
}

/* Until the client is in transmission. Every export name is the one there is. */
static int greet(int fd, int *structured) {
  char hello[18], client[4], head[16], data[4096];
  const uint16_t flags = 1 | 1 << 2 | 1 << 3; /* HAS_FLAGS, SEND_FLUSH, SEND_FUA */
  put64(hello, 0x4e42444d41474943ULL);
  put64(hello + 8, 0x49484156454f5054ULL);
  put16(hello + 16, 3); /* FIXED_NEWSTYLE, NO_ZEROES */
  if (!give(fd, hello, sizeof hello) || !take(fd, client, sizeof client)) return 0;
  for (;;) {
    if (!take(fd, head, sizeof head)) return 0;
    uint32_t option = get32(head + 8), bytes = get32(head + 12);
    if (bytes > sizeof data || !take(fd, data, bytes)) return 0;
    if (option == OPT_ABORT) return 0;
    if (option == OPT_EXPORT_NAME) {
      char reply[134] = {0};
      put64(reply, disk_bytes);
      put16(reply + 8, flags);
      return give(fd, reply, get32(client) & 2 ? 10 : sizeof reply);
    }
    if (option == OPT_STRUCTURED) {
      *structured = 1;
      if (!answer_option(fd, option, 1, NULL, 0)) return 0;
    } else if (option == OPT_GO || option == OPT_INFO) {
      char info[12];
      put16(info, 0);
      put64(info + 2, disk_bytes);
      put16(info + 10, flags);
      if (!answer_option(fd, option, 3, info, sizeof info)) return 0;
      if (!answer_option(fd, option, 1, NULL, 0)) return 0;
      if (option == OPT_GO) return 1;
    } else if (!answer_option(fd, option, 0x80000001U, NULL, 0)) {
      return 0;
    }
  }
}

static void reply_head(char *at, const char *request, uint32_t error) {
  put32(at, 0x67446698U);
  put32(at + 4, error);
  memcpy(at + 8, request + 8, 8);
}

/* One chunk with all data of a read. */
static void chunk_head(char *at, const char *request, uint32_t bytes, uint64_t offset) {
  put32(at, 0x668e33efU);
  put16(at + 4, DONE);
  put16(at + 6, OFFSET_DATA);
  memcpy(at + 8, request + 8, 8);
  put32(at + 16, bytes + 8);
  put64(at + 20, offset);
}

/* Moves all of it, or answers why not. */
static uint32_t move(int type, char *at, uint32_t bytes, uint64_t offset) {
  while (bytes > 0) {
    ssize_t moved = type == READ ? pread(disk, at, bytes, offset) : pwrite(disk, at, bytes, offset);
    if (moved < 0 && errno == EINTR) continue;
    if (moved <= 0) return NBD_EIO;
    at += moved;
    bytes -= moved;
    offset += moved;
  }
  return 0;
}

static void *serve(void *argument) {
  int fd = (int)(intptr_t)argument, structured = 0;
  char *in = malloc(IN_BYTES), *out = malloc(OUT_BYTES + CHUNK + LONGEST), *payload = malloc(LONGEST);
  size_t start = 0, end = 0, ready = 0;
  if (in == NULL || out == NULL || payload == NULL || !greet(fd, &structured)) goto done;
  for (;;) {
    /* The next request; what is ready leaves before anything is waited for. */
    if (end - start < REQUEST) {
      memmove(in, in + start, end - start);
      end -= start;
      start = 0;
      if (ready > 0 && !give(fd, out, ready)) break;
      ready = 0;
      while (end < REQUEST) {
        ssize_t got = recv(fd, in + end, IN_BYTES - end, 0);
        if (got <= 0) goto done;
        end += got;
      }
    }
    const char *request = in + start;
    if (get32(request) != 0x25609513U) break;
    uint16_t flags = get16(request + 4), type = get16(request + 6);
    uint64_t offset = get64(request + 16);
    uint32_t bytes = get32(request + 24), error = 0;
    start += REQUEST;
    if (type == DISC) break;
    if (bytes > LONGEST) break;
    int inside = offset <= disk_bytes && bytes <= disk_bytes - offset;
    char *head = out + ready;
    if (type == READ && inside) {
      size_t front = structured ? CHUNK : REPLY;
      error = move(READ, head + front, bytes, offset);
      if (error == 0 && structured) {
        chunk_head(head, request, bytes, offset);
        ready += CHUNK + bytes;
        goto next;
      }
      ready += error == 0 ? bytes : 0;
    } else if (type == WRITE) {
      size_t have = end - start < bytes ? end - start : bytes;
      char *from = in + start;
      if (have < bytes) {
        memcpy(payload, from, have);
        from = payload;
        /* The client may wait for room: what it is owed goes first. */
        if (ready > 0 && !give(fd, out, ready)) break;
        ready = 0;
        head = out;
        if (!take(fd, payload + have, bytes - have)) break;
      }
      start += have;
      error = inside ? move(WRITE, from, bytes, offset) : NBD_EINVAL;
    } else if (type != FLUSH) {
      error = NBD_EINVAL;
    }
    if (error == 0 && (type == FLUSH || (type == WRITE && (flags & FUA) != 0)) && fdatasync(disk) != 0)
      error = NBD_EIO;
    reply_head(head, request, error);
    ready += REPLY;
  next:
    if (ready >= OUT_BYTES) {
      if (!give(fd, out, ready)) break;
      ready = 0;
    }
  }
done:
  free(in);
  free(out);
  free(payload);
  close(fd);
  return NULL;
}

int main(int count, char **words) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  struct stat facts;
  if (count != 3 || strlen(words[1]) >= sizeof address.sun_path) {
    fprintf(stderr, "usage: limit SOCKET FILE\n");
    return 2;
  }
  strcpy(address.sun_path, words[1]);
  disk = open(words[2], O_RDWR | O_CLOEXEC);
  int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (disk < 0 || fstat(disk, &facts) != 0) return perror(words[2]), 1;
  disk_bytes = facts.st_size;
  if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 64) != 0)
    return perror(words[1]), 1;
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    pthread_t thread;
    if (fd < 0) continue;
    if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) != 0) close(fd);
    else pthread_detach(thread);
  }
}
