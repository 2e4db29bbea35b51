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
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROBE(name, result) static long name(void) { return result; }

static void *nothing(void *unused) { return unused; }
static char byte[1];
static struct iovec one = {byte, 1};
static int terminal(void) { return open("/dev/ptmx", O_RDWR | O_NOCTTY); }
static int file(void) { return open("plain", O_CREAT | O_RDWR, 0644); }
static long forked(long pid) { if (pid == 0) _exit(0); return pid; }

/* Mounts and namespaces. */
PROBE(mount_tmpfs, mount("none", "/tmp", "tmpfs", 0, 0))
PROBE(umount_tmp, umount("/tmp"))
PROBE(pivot, syscall(SYS_pivot_root, "/", "/"))
PROBE(change_root, chroot("/tmp"))
PROBE(fs_open, syscall(430, "tmpfs", 0))
PROBE(tree_open, syscall(428, AT_FDCWD, "/", 1))
PROBE(mount_move, syscall(429, AT_FDCWD, "/tmp", AT_FDCWD, "/home", 0))
PROBE(mount_attributes, syscall(442, AT_FDCWD, "/", 0, 0, 0))
PROBE(unshare_user, unshare(CLONE_NEWUSER))
PROBE(unshare_net, unshare(CLONE_NEWNET))
PROBE(unshare_time, unshare(0x80))
PROBE(clone_user, forked(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)))
PROBE(clone3_user, syscall(435, 0, 0))
PROBE(set_ns, setns(open("/proc/self/ns/net", O_RDONLY), 0))

/* Numbers outside of the table. */
PROBE(unknown_call, syscall(600))
#if defined(__x86_64__)
PROBE(x32, syscall(0x40000000 | SYS_getpid))
static long int80(void) { long result; __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory"); return result; }
PROBE(io_privilege, syscall(SYS_iopl, 3))
PROBE(io_ports, syscall(SYS_ioperm, 0, 1, 1))
PROBE(local_descriptors, syscall(SYS_modify_ldt, 0, byte, 1))
#else
static long absent(void) { raise(SIGKILL); return 0; }
#define x32 absent
#define int80 absent
PROBE(io_privilege, (errno = EPERM, -1))
PROBE(io_ports, (errno = EPERM, -1))
PROBE(local_descriptors, (errno = ENOSYS, -1))
#endif

/* Init's insides. */
PROBE(ptrace_init, ptrace(PTRACE_ATTACH, 1, 0, 0))
PROBE(read_init, process_vm_readv(1, 0, 0, 0, 0, 0))
PROBE(write_init, process_vm_writev(1, &one, 1, &one, 1, 0))
PROBE(descriptor_of_init, syscall(438, syscall(434, 1, 0), 0, 0))
PROBE(compare_init, syscall(SYS_kcmp, 1, getpid(), 0, 0, 0))

/* Parts of the kernel that no namespace separates. */
PROBE(key_control, syscall(SYS_keyctl, 0, -3, 1))
PROBE(key_add, syscall(SYS_add_key, "user", "a", "b", 1, -3))
PROBE(key_request, syscall(SYS_request_key, "user", "a", "b", -3))
PROBE(bpf_map, syscall(SYS_bpf, 0, 0, 0))
PROBE(perf, syscall(SYS_perf_event_open, 0, 0, -1, -1, 0))
PROBE(user_faults, syscall(SYS_userfaultfd, 1))
PROBE(uring_setup, syscall(425, 1, 0))
PROBE(uring_enter, syscall(426, 0, 0, 0, 0, 0))
PROBE(uring_register, syscall(427, 0, 0, 0, 0))
PROBE(handle_name, syscall(SYS_name_to_handle_at, AT_FDCWD, "/", 0, 0, 0))
PROBE(handle_open, syscall(SYS_open_by_handle_at, AT_FDCWD, 0, 0))
PROBE(fanotify, syscall(SYS_fanotify_init, 0x200, 0))
PROBE(module, syscall(SYS_init_module, byte, 1, ""))
PROBE(module_file, syscall(SYS_finit_module, file(), "", 0))
PROBE(kexec, syscall(SYS_kexec_load, 0, 0, 0, 0))
PROBE(restart, reboot(RB_DISABLE_CAD))
PROBE(swap, swapon("plain", 0))
PROBE(accounting, syscall(SYS_acct, 0))
PROBE(quota, syscall(SYS_quotactl, 0, 0, 0, 0))
PROBE(kernel_log, syscall(SYS_syslog, 3, byte, 1))
static long set_time(void) { struct timeval then = {1, 0}; return settimeofday(&then, 0); }
static long set_clock(void) { struct timespec then = {1, 0}; return clock_settime(CLOCK_REALTIME, &then); }
static long adjust_clock(void) { struct timex none = {0}; return adjtimex(&none); }

/* Sockets that reach past the network namespace. */
PROBE(socket_packet, socket(AF_PACKET, SOCK_DGRAM, 0))
PROBE(socket_vsock, socket(40, SOCK_STREAM, 0))
PROBE(socket_vsock_high_bits, syscall(SYS_socket, 0x100000000UL | 40, SOCK_STREAM, 0))
PROBE(socket_alg, socket(38, SOCK_SEQPACKET, 0))
PROBE(socket_xdp, socket(44, SOCK_RAW, 0))
PROBE(socket_bluetooth, socket(31, SOCK_RAW, 0))
PROBE(socket_key, socket(15, SOCK_RAW, 2))
PROBE(socket_raw, socket(AF_INET, SOCK_RAW, 1))
PROBE(socket_raw6, socket(AF_INET6, SOCK_RAW, 58))
PROBE(netlink_netfilter, socket(AF_NETLINK, SOCK_RAW, 12))
PROBE(netlink_audit, socket(AF_NETLINK, SOCK_RAW, 9))
PROBE(netlink_xfrm, socket(AF_NETLINK, SOCK_RAW, 6))

/* Input for whoever reads the terminal next. */
PROBE(tiocsti, ioctl(terminal(), TIOCSTI, "x"))
PROBE(tiocsti_high_bits, syscall(SYS_ioctl, terminal(), 0x100000000UL | TIOCSTI, "x"))
PROBE(tioclinux, ioctl(terminal(), TIOCLINUX, "\2"))

/* Set-id files, which would work for other users of the host. */
PROBE(chmod_setid, chmod((close(file()), "plain"), 04755))
PROBE(fchmod_setid, fchmod(file(), 02755))
PROBE(fchmodat_setid, syscall(SYS_fchmodat, AT_FDCWD, (close(file()), "plain"), 06755))
PROBE(fchmodat2_setid, syscall(452, AT_FDCWD, (close(file()), "plain"), 04755, 0))
PROBE(open_setid, open("setid1", O_CREAT | O_WRONLY, 04755))
PROBE(creat_setid, creat("setid2", 04755))
PROBE(tmpfile_setid, open(".", O_TMPFILE | O_WRONLY, 04755))
static long openat2_setid(void) { unsigned long how[3] = {O_CREAT | O_WRONLY, 04755, 0}; return syscall(437, AT_FDCWD, "setid3", how, sizeof how); }
PROBE(mknod_setid, mknod("setid4", S_IFREG | 04755, 0))
PROBE(mkdir_setid, mkdir("setid5", 02755))
PROBE(mknod_disk, mknod("disk", S_IFBLK | 0600, makedev(254, 0)))
PROBE(mknod_mem, mknod("mem", S_IFCHR | 0600, makedev(1, 1)))

/* What must go on working. */
PROBE(fork_child, forked(fork()))
static long thread(void) { pthread_t thread; errno = pthread_create(&thread, 0, nothing, 0); return errno ? -1 : 0; }
PROBE(socket_tcp, socket(AF_INET, SOCK_STREAM, 0))
PROBE(socket_unix, socket(AF_UNIX, SOCK_STREAM, 0))
PROBE(netlink_route, socket(AF_NETLINK, SOCK_RAW, 0))
PROBE(chmod_plain, chmod((close(file()), "plain"), 0755))
PROBE(unshare_files, unshare(CLONE_FILES))
PROBE(pty, terminal())

#define P(name) {#name, name}
static const struct { const char *name; long (*probe)(void); } probes[] = {
    P(mount_tmpfs), P(umount_tmp), P(pivot), P(change_root), P(fs_open), P(tree_open), P(mount_move),
    P(mount_attributes), P(unshare_user), P(unshare_net), P(unshare_time), P(clone_user), P(clone3_user), P(set_ns),
    P(unknown_call), {"x32", x32}, {"int80", int80}, P(io_privilege), P(io_ports), P(local_descriptors),
    P(ptrace_init), P(read_init), P(write_init), P(descriptor_of_init), P(compare_init), P(key_control), P(key_add),
    P(key_request), P(bpf_map), P(perf), P(user_faults), P(uring_setup), P(uring_enter), P(uring_register),
    P(handle_name), P(handle_open), P(fanotify), P(module), P(module_file), P(kexec), P(restart), P(swap),
    P(accounting), P(quota), P(kernel_log), P(set_time), P(set_clock), P(adjust_clock), P(socket_packet),
    P(socket_vsock), P(socket_vsock_high_bits), P(socket_alg), P(socket_xdp), P(socket_bluetooth), P(socket_key),
    P(socket_raw), P(socket_raw6), P(netlink_netfilter), P(netlink_audit), P(netlink_xfrm), P(tiocsti),
    P(tiocsti_high_bits), P(tioclinux), P(chmod_setid), P(fchmod_setid), P(fchmodat_setid), P(fchmodat2_setid), P(open_setid),
    P(creat_setid), P(tmpfile_setid), P(openat2_setid), P(mknod_setid), P(mkdir_setid), P(mknod_disk), P(mknod_mem),
    P(fork_child), P(thread), P(socket_tcp), P(socket_unix), P(netlink_route), P(chmod_plain), P(unshare_files),
    P(pty),
};

int main(void) {
    setvbuf(stdout, 0, _IOLBF, 0);
    for (unsigned i = 0; i < sizeof probes / sizeof *probes; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            errno = 0;
            long result = probes[i].probe();
            printf("%s %s\n", probes[i].name, result >= 0 ? "ok" : strerrorname_np(errno));
            _exit(0);
        }
        int status;
        waitpid(pid, &status, 0);
        if (WIFSIGNALED(status)) printf("%s killed\n", probes[i].name);
    }
    return 0;
}
