/* An init that was taken over: it greets the server as it should and then answers as its file name says. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char big[200 * 1024];

static void say(const void *bytes, size_t length, const int *fds, int count) {
    struct iovec iov = {(void *)bytes, length};
    union { char room[256]; struct cmsghdr align; } control = {0};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    if (count) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(count * sizeof *fds);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(count * sizeof *fds);
        memcpy(CMSG_DATA(header), fds, count * sizeof *fds);
    }
    if (sendmsg(0, &message, MSG_NOSIGNAL) < 0 && length <= 4096) exit(1);
}

/* A message of a tag and numbers of 32 bits. */
static void event(uint8_t tag, const uint32_t *numbers, int count, const int *fds, int fd_count) {
    char bytes[64] = {tag};
    memcpy(bytes + 1, numbers, count * sizeof *numbers);
    say(bytes, 1 + count * sizeof *numbers, fds, fd_count);
}

static void greet(const char *mode) {
    uint32_t pid = getpid();
    int sockets[3] = {socket(AF_INET, SOCK_DGRAM, 0), socket(AF_INET, SOCK_STREAM, 0), socket(AF_INET, SOCK_STREAM, 0)};
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < 3; i++) bind(sockets[i], (void *)&any, sizeof any);
    listen(sockets[1], 1), listen(sockets[2], 1);
    say("\2\1", 2, sockets, strcmp(mode, "socketless") ? 3 : 0);
}

/* Says everything there is to say, about commands that nobody started. */
static void flood(void) {
    int file = open("/dev/null", O_RDWR);
    int fds[4] = {file, file, file, file};
    for (uint32_t i = 0; i < 20000; i++) {
        event(4, (uint32_t[]){i + 1000, i}, 2, fds, 4);
        event(6, (uint32_t[]){i + 1000, 0, 0}, 3, 0, 0);
        event(7, (uint32_t[]){i + 1000}, 1, 0, 0);
        event(8, (uint32_t[]){i + 1000}, 1, fds, 4);
        event(1, (uint32_t[]){1}, 1, fds, 1);
        event(2, 0, 0, 0, 0);
    }
}

int main(int argc, char **argv) {
    const char *mode = strrchr(argv[0], '-') + 1;
    ssize_t got = recv(0, big, sizeof big, 0);
    if (!strcmp(mode, "long")) { big[0] = 3; say(big, sizeof big, 0, 0); return 0; }
    if (!strcmp(mode, "fatherless")) { event(1, (uint32_t[]){getpid()}, 1, 0, 0); return 0; }
    int wait_for_parent[2];
    pipe(wait_for_parent);
    pid_t pid = fork();
    if (pid) {
        int pidfd = syscall(434, pid, 0);
        event(1, (uint32_t[]){pid}, 1, &pidfd, 1);
        return 0;
    }
    close(wait_for_parent[1]);
    read(wait_for_parent[0], big, 1);
    greet(mode);
    while ((got = recv(0, big, sizeof big, 0)) > 0) {
        uint32_t id;
        memcpy(&id, big + 1, sizeof id);
        int file = open("/dev/null", O_RDWR), unix_socket = socket(AF_UNIX, SOCK_STREAM, 0);
        if (!strcmp(mode, "garbage")) say("\x04\xff\xff", 3, 0, 0);
        if (!strcmp(mode, "files")) event(8, &id, 1, (int[]){file, unix_socket, file, file}, 4);
        if (!strcmp(mode, "empty")) event(8, &id, 1, 0, 0);
        if (!strcmp(mode, "flood")) { flood(); return 0; }
        close(file), close(unix_socket);
    }
    return 0;
}
