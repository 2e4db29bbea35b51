/* Tries system calls a sandbox must refuse, each in a child of its own, and prints `name result` for each. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static void *nothing(void *unused) { return unused; }

static long open_tty(void) {
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY);
    return master < 0 ? -1 : master;
}

static long try(const char *name) {
#define IS(text) (strcmp(name, text) == 0)
    if (IS("mount")) return mount("none", "/tmp", "tmpfs", 0, 0);
    if (IS("umount")) return umount("/tmp");
    if (IS("chroot")) return chroot("/tmp");
    if (IS("unshare_user")) return unshare(CLONE_NEWUSER);
    if (IS("unshare_files")) return unshare(CLONE_FILES);
    if (IS("clone_user")) { long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0); if (!pid) _exit(0); return pid; }
    if (IS("clone3")) return syscall(435, 0, 0);
    if (IS("setns")) return setns(open("/proc/self/ns/net", O_RDONLY), 0);
    if (IS("ptrace_init")) return ptrace(PTRACE_ATTACH, 1, 0, 0);
    if (IS("vm_readv_init")) return process_vm_readv(1, 0, 0, 0, 0, 0);
    if (IS("keyctl")) return syscall(SYS_keyctl, 0, -3, 1);
    if (IS("add_key")) return syscall(SYS_add_key, "user", "a", "b", 1, -3);
    if (IS("bpf")) return syscall(SYS_bpf, 0, 0, 0);
    if (IS("perf")) return syscall(SYS_perf_event_open, 0, 0, -1, -1, 0);
    if (IS("userfaultfd")) return syscall(SYS_userfaultfd, 1);
    if (IS("io_uring")) return syscall(425, 1, 0);
    if (IS("open_by_handle")) return syscall(SYS_open_by_handle_at, AT_FDCWD, 0, 0);
    if (IS("fanotify")) return syscall(SYS_fanotify_init, 0x200, 0);
    if (IS("socket_packet")) return socket(AF_PACKET, SOCK_DGRAM, 0);
    if (IS("socket_vsock")) return socket(40, SOCK_STREAM, 0);
    if (IS("socket_alg")) return socket(38, SOCK_SEQPACKET, 0);
    if (IS("socket_raw")) return socket(AF_INET, SOCK_RAW, 1);
    if (IS("socket_tcp")) return socket(AF_INET, SOCK_STREAM, 0);
    if (IS("socket_unix")) return socket(AF_UNIX, SOCK_STREAM, 0);
    if (IS("tiocsti")) return ioctl(open_tty(), TIOCSTI, "x");
    if (IS("tiocsti_high_bits")) return syscall(SYS_ioctl, open_tty(), 0x100000000UL | TIOCSTI, "x");
    if (IS("chmod")) { close(creat("plain", 0644)); return chmod("plain", 0755); }
    if (IS("chmod_setuid")) { close(creat("plain", 0644)); return chmod("plain", 04755); }
    if (IS("creat_setuid")) return open("setuid", O_CREAT | O_WRONLY, 04755);
    if (IS("openat2")) { unsigned long how[3] = {O_CREAT | O_WRONLY, 04755, 0}; return syscall(437, AT_FDCWD, "setuid2", how, sizeof how); }
    if (IS("mknod_disk")) return mknod("disk", S_IFBLK | 0600, makedev(254, 0));
    if (IS("settime")) { struct timeval now = {1, 0}; return settimeofday(&now, 0); }
    if (IS("reboot")) return reboot(RB_DISABLE_CAD);
    if (IS("unknown_call")) return syscall(600);
    if (IS("fork")) { long pid = fork(); if (!pid) _exit(0); return pid; }
    if (IS("thread")) { pthread_t thread; errno = pthread_create(&thread, 0, nothing, 0); return errno ? -1 : 0; }
#if defined(__x86_64__)
    if (IS("x32")) return syscall(0x40000000 | SYS_getpid);
    if (IS("int80")) { long result; __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory"); return result; }
#else
    if (IS("x32") || IS("int80")) { puts(" absent"); _exit(0); }
#endif
    return 0;
}

static const char *names[] = {
    "mount", "umount", "chroot", "unshare_user", "unshare_files", "clone_user", "clone3", "setns", "ptrace_init",
    "vm_readv_init", "keyctl", "add_key", "bpf", "perf", "userfaultfd", "io_uring", "open_by_handle", "fanotify",
    "socket_packet", "socket_vsock", "socket_alg", "socket_raw", "socket_tcp", "socket_unix", "tiocsti",
    "tiocsti_high_bits", "chmod", "chmod_setuid", "creat_setuid", "openat2", "mknod_disk", "settime", "reboot",
    "unknown_call", "fork", "thread", "x32", "int80",
};

int main(void) {
    setvbuf(stdout, 0, _IOLBF, 0);
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            errno = 0;
            long result = try(names[i]);
            printf("%s %s\n", names[i], result >= 0 ? "ok" : strerrorname_np(errno));
            _exit(0);
        }
        int status;
        waitpid(pid, &status, 0);
        if (WIFSIGNALED(status)) printf("%s killed\n", names[i]);
    }
    return 0;
}
