// The floor: the system calls an isolated process cannot do without, and nothing else.
//
// It makes the same namespaces, mounts, walls and cgroup as a runtime does, with no image, no
// policy and no error handling beyond a message; what a runtime costs above it is its own. Bench
// compiles it static with the machine's cc.
//
//   floor full  ID DIR LOWER CGROUP   one process: up, exec /bin/true, wait, clean up
//   floor pod3  ID DIR LOWER CGROUP   a pod of three: up (a byte on stdout), kill, clean up
//   floor hold  ID DIR LOWER CGROUP   up with a sleeper, supervisor stays; returns when it runs
//   floor enter ID DIR                /bin/true in every namespace of what `hold` holds
//   floor drop  ID DIR                ends what `hold` holds
//
// DIR holds a file of state for each ID and a directory `stage` to mount on, LOWER is a root
// directory with /proc /sys /dev, CGROUP a directory of ours in the unified tree. All directories
// above DIR and LOWER must be world-searchable.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BASE = 1 << 29, IDS = 65536, NODES = 6 };
static const uint64_t ALL = CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC |
                            CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWNS;

static void die(const char *what) {
    dprintf(2, "floor: %s: %s\n", what, strerror(errno));
    _exit(125);
}
#define must(call) ((call) < 0 ? (die(#call), -1) : 0)
static int got(int fd, const char *what) { if (fd < 0) die(what); return fd; }
static void join(char *to, const char *dir, const char *name) {
    if (snprintf(to, 256, "%s/%s", dir, name) >= 256) { errno = ENAMETOOLONG; die(dir); }
}

// ---- seccomp: a balanced tree over the ranges between the refused calls -------------------------
static const int refused[] = {101, 103, 134, 135, 136, 139, 153, 154, 155, 156, 159, 161, 163, 164, 165,
    166, 167, 168, 169, 170, 172, 173, 174, 175, 176, 177, 178, 179, 180, 205, 211, 212, 237, 246, 248,
    249, 250, 272, 279, 298, 303, 304, 308, 310, 311, 313, 321, 323, 425, 428, 429, 430, 431, 432, 433, 442};
struct range { int from; uint32_t verdict; };
static struct sock_filter program[512];
static int length;

static void emit(uint16_t code, uint32_t k, int jt, int jf) {
    program[length++] = (struct sock_filter){code, (uint8_t)jt, (uint8_t)jf, k};
}
static void tree(const struct range *r, int n) {
    if (n == 1) { emit(BPF_RET | BPF_K, r->verdict, 0, 0); return; }
    int half = n / 2, at = length;
    emit(BPF_JMP | BPF_JGE | BPF_K, (uint32_t)r[half].from, 0, 0);
    tree(r, half);
    if (length - at - 1 > 255) die("seccomp tree too wide");
    program[at].jt = (uint8_t)(length - at - 1);
    tree(r + half, n - half);
}
static void compile(void) {
    struct range r[128];
    int n = 0;
    r[n++] = (struct range){0, SECCOMP_RET_ALLOW};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (r[n - 1].from == refused[i]) r[n - 1].verdict = SECCOMP_RET_ERRNO | EPERM;
        else r[n++] = (struct range){refused[i], SECCOMP_RET_ERRNO | EPERM};
        r[n++] = (struct range){refused[i] + 1, SECCOMP_RET_ALLOW};
    }
    emit(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
    emit(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
    emit(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS, 0, 0);
    emit(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
    tree(r, n);
}

// ---- the root file system ----------------------------------------------------------------------
static void mnt(const char *from, const char *to, const char *type, unsigned long flags, const char *data) {
    if (mount(from, to, type, flags, data) < 0) { dprintf(2, "floor: %s: ", to); die("mount"); }
}
static void read_only(const char *path) {
    mnt(path, path, NULL, MS_BIND | MS_REC, NULL);
    mnt(NULL, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
}
static void build_root(const char *lower, const char *stage) {
    const unsigned long safe = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    static const char *nodes[NODES] = {"null", "zero", "full", "random", "urandom", "tty"};
    static const char *masks[] = {"proc/kcore", "proc/keys", "proc/timer_list", "proc/sched_debug", "proc/latency_stats"};
    static const char *empties[] = {"proc/acpi", "proc/scsi", "sys/firmware"};
    static const char *fixed[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
    char data[1024], to[256], from[256];
    mnt(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL);
    mnt("tmpfs", stage, "tmpfs", MS_NODEV, "mode=755,size=64m");
    must(chdir(stage));
    must(mkdir("upper", 0755)); must(mkdir("work", 0755)); must(mkdir("root", 0755));
    snprintf(data, sizeof data, "lowerdir=%s,upperdir=upper,workdir=work", lower);
    mnt("overlay", "root", "overlay", MS_NODEV, data);
    must(chdir("root"));
    mnt("proc", "proc", "proc", safe, NULL);
    mnt("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=64k");
    for (int i = 0; i < NODES; i++) {
        join(to, "dev", nodes[i]); join(from, "/dev", nodes[i]);
        close(got(open(to, O_CREAT | O_WRONLY | O_CLOEXEC, 0644), to));
        mnt(from, to, NULL, MS_BIND, NULL);
    }
    must(mkdir("dev/pts", 0755)); must(mkdir("dev/shm", 0755)); must(mkdir("dev/mqueue", 0755));
    mnt("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
    mnt("shm", "dev/shm", "tmpfs", safe, "mode=1777,size=65536k");
    mnt("mqueue", "dev/mqueue", "mqueue", safe, NULL);
    must(symlink("pts/ptmx", "dev/ptmx")); must(symlink("/proc/self/fd", "dev/fd"));
    must(symlink("/proc/self/fd/0", "dev/stdin")); must(symlink("/proc/self/fd/1", "dev/stdout"));
    must(symlink("/proc/self/fd/2", "dev/stderr"));
    mnt("sysfs", "sys", "sysfs", safe | MS_RDONLY, NULL);
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++)
        if (mount("/dev/null", masks[i], NULL, MS_BIND, NULL) < 0 && errno != ENOENT) die(masks[i]);
    for (size_t i = 0; i < sizeof empties / sizeof *empties; i++)
        if (mount("tmpfs", empties[i], "tmpfs", safe | MS_RDONLY, "size=0,nr_inodes=1") < 0 && errno != ENOENT) die(empties[i]);
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (access(fixed[i], F_OK) == 0) read_only(fixed[i]);
    must(syscall(SYS_pivot_root, ".", "."));
    must(umount2(".", MNT_DETACH));
    must(chdir("/"));
}

// ---- the last steps of every app ----------------------------------------------------------------
static void become_root(void) {
    must(syscall(SYS_setgroups, 0, NULL)); must(syscall(SYS_setresgid, 0, 0, 0)); must(syscall(SYS_setresuid, 0, 0, 0));
}
static void drop(void) {
    struct rlimit files = {1024, 1024}, core = {0, 0};
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    const uint32_t keep = 0x800405fb & ~(1u << 8);
    struct __user_cap_data_struct caps[2] = {{keep, keep, 0}, {0, 0, 0}};
    must(setrlimit(RLIMIT_NOFILE, &files)); must(setrlimit(RLIMIT_CORE, &core));
    umask(022);
    for (int cap = 0; cap <= 40; cap++)
        if (cap > 31 || !(keep & (1u << cap))) prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    must(syscall(SYS_capset, &head, caps));
    struct sock_fprog filter = {(unsigned short)length, program};
    must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter));
    must(syscall(SYS_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC));
}
static void run(int sleeper) {
    char *env[] = {"PATH=/bin", NULL}, *nap[] = {"sleep", "100000", NULL}, *yes[] = {"true", NULL};
    execve(sleeper ? "/bin/sleep" : "/bin/true", sleeper ? nap : yes, env);
    die("execve");
}
static void loopback_up(void) {
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = got(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
    must(ioctl(fd, SIOCSIFFLAGS, &lo));
    close(fd);
}

// ---- the supervisor's side ----------------------------------------------------------------------
static pid_t clone_into(uint64_t flags, int cgroup, int *pidfd) {
    struct clone_args args = {.flags = flags | CLONE_PIDFD | CLONE_INTO_CGROUP, .pidfd = (uintptr_t)pidfd,
                              .exit_signal = SIGCHLD, .cgroup = (uint64_t)cgroup};
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    if (pid < 0) die("clone3");
    return pid;
}
static int make_cgroup(const char *path) {
    if (mkdir(path, 0755) < 0 && errno != EEXIST) die(path);
    return got(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC), path);
}
static void remove_cgroup(const char *path) {
    for (int try = 0; rmdir(path) < 0 && errno == EBUSY && try < 1000; try++) usleep(100);
}
static void map_ids(pid_t pid) {
    static const char *files[] = {"uid_map", "gid_map"};
    char path[64], line[64];
    int n = snprintf(line, sizeof line, "0 %d %d", BASE, IDS);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", pid, files[i]);
        int fd = got(open(path, O_WRONLY | O_CLOEXEC), path);
        must(write(fd, line, (size_t)n)); close(fd);
    }
}
static void write_state(const char *path, pid_t app, pid_t supervisor, const char *cgroup) {
    char tmp[256], text[512];
    snprintf(tmp, sizeof tmp, "%s.new", path);
    int fd = got(open(tmp, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600), tmp);
    int n = snprintf(text, sizeof text, "%d %d %s\n", app, supervisor, cgroup);
    must(write(fd, text, (size_t)n)); close(fd); must(rename(tmp, path));
}
static int reap(int pidfd) {
    siginfo_t info = {0};
    must(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED));
    return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

// One app in namespaces of its own.
static pid_t start_full(const char *lower, const char *stage, int cgroup, int sleeper, int *pidfd) {
    int go[2];
    char byte;
    must(pipe2(go, O_CLOEXEC));
    pid_t pid = clone_into(ALL, cgroup, pidfd);
    if (pid == 0) {
        close(go[1]);
        must(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
        if (read(go[0], &byte, 1) != 1) die("wait for the id map");
        become_root();
        must(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
        build_root(lower, stage);
        must(sethostname("floor", 5));
        loopback_up();
        drop();
        run(sleeper);
    }
    map_ids(pid);
    must(write(go[1], "x", 1)); close(go[0]); close(go[1]);
    return pid;
}

static int full(const char *lower, const char *stage, const char *state, const char *cgroup) {
    int pidfd, fd = make_cgroup(cgroup);
    pid_t pid = start_full(lower, stage, fd, 0, &pidfd);
    write_state(state, pid, getpid(), cgroup);
    int status = reap(pidfd);
    remove_cgroup(cgroup);
    must(unlink(state));
    return status;
}

static int hold(const char *lower, const char *stage, const char *state, const char *cgroup) {
    int alive[2], pidfd;
    char byte;
    must(pipe2(alive, O_CLOEXEC));
    pid_t supervisor = fork();
    if (supervisor < 0) die("fork");
    if (supervisor > 0) {
        close(alive[1]);
        if (read(alive[0], &byte, 1) != 0) die("wait for the app");
        return access(state, F_OK) == 0 ? 0 : 125;
    }
    setsid();
    close(alive[0]);
    int fd = make_cgroup(cgroup);
    pid_t pid = start_full(lower, stage, fd, 1, &pidfd);
    write_state(state, pid, getpid(), cgroup);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int i = 0; i < 3; i++) dup2(null, i);
    close(alive[1]);
    reap(pidfd);
    remove_cgroup(cgroup);
    return 0;
}

static void read_state(const char *path, int *app, int *supervisor, char *cgroup) {
    FILE *file = fopen(path, "re");
    if (!file || fscanf(file, "%d %d %255s", app, supervisor, cgroup) != 3) die(path);
    fclose(file);
}

static int enter(const char *state) {
    int app, supervisor, child;
    char cgroup[256];
    read_state(state, &app, &supervisor, cgroup);
    int fd = got(open(cgroup, O_PATH | O_DIRECTORY | O_CLOEXEC), cgroup);
    int target = got((int)syscall(SYS_pidfd_open, app, 0), "pidfd_open");
    must(setns(target, CLONE_NEWPID));
    if (clone_into(0, fd, &child) == 0) {
        must(setns(target, (int)(ALL & ~(uint64_t)CLONE_NEWPID)));
        become_root();
        drop();
        run(0);
    }
    return reap(child);
}

static int end(const char *state) {
    int app, supervisor;
    char cgroup[256];
    read_state(state, &app, &supervisor, cgroup);
    int watch = got((int)syscall(SYS_pidfd_open, supervisor, 0), "pidfd_open");
    must(kill(app, SIGKILL));
    // The supervisor is no child of ours: its end shows as the pidfd turning readable.
    struct { int fd; short events, revents; } poll_fd = {watch, 1, 0};
    must(syscall(SYS_poll, &poll_fd, 1, 5000));
    must(unlink(state));
    return 0;
}

// Three apps that share user, net, ipc, uts and pid, each with its own mounts and cgroup view.
static int pod3(const char *lower, const char *stage, const char *state, const char *cgroup) {
    int go[2], alive[2], init, app[3];
    char path[4][256], byte;
    close(make_cgroup(cgroup));
    for (int i = 0; i < 4; i++) { char name[8]; snprintf(name, sizeof name, "%d", i); join(path[i], cgroup, name); }
    must(pipe2(go, O_CLOEXEC)); must(pipe2(alive, O_CLOEXEC));
    int fd = make_cgroup(path[3]);
    pid_t pid = clone_into(ALL & ~(uint64_t)CLONE_NEWNS, fd, &init);
    if (pid == 0) {
        must(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
        close(go[1]);
        if (read(go[0], &byte, 1) != 1) die("wait for the id map");
        become_root();
        must(sethostname("floor", 5));
        loopback_up();
        drop();
        must(write(alive[1], "i", 1));
        must(syscall(SYS_close_range, 3, ~0u, 0));
        for (;;) pause();
    }
    map_ids(pid);
    must(write(go[1], "x", 1));
    if (read(alive[0], &byte, 1) != 1) die("wait for init");
    must(setns(init, CLONE_NEWPID));
    for (int i = 0; i < 3; i++) {
        fd = make_cgroup(path[i]);
        if (clone_into(0, fd, &app[i]) == 0) {
            must(setns(init, CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS));
            must(unshare(CLONE_NEWNS | CLONE_NEWCGROUP));
            become_root();
            build_root(lower, stage);
            drop();
            run(1);
        }
        close(fd);
    }
    write_state(state, pid, getpid(), cgroup);
    close(alive[1]);
    if (read(alive[0], &byte, 1) != 0) die("wait for the apps");
    must(write(1, "u", 1));
    must(syscall(SYS_pidfd_send_signal, init, SIGKILL, NULL, 0));
    for (int i = 0; i < 3; i++) reap(app[i]);
    reap(init);
    for (int i = 0; i < 4; i++) remove_cgroup(path[i]);
    remove_cgroup(cgroup);
    must(unlink(state));
    return 0;
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    compile();
    char stage[256], state[256], cgroup[256];
    if (argc >= 4) { join(stage, argv[3], "stage"); join(state, argv[3], argv[2]); }
    if (argc == 6) {
        join(cgroup, argv[5], argv[2]);
        if (!strcmp(argv[1], "full")) return full(argv[4], stage, state, cgroup);
        if (!strcmp(argv[1], "pod3")) return pod3(argv[4], stage, state, cgroup);
        if (!strcmp(argv[1], "hold")) return hold(argv[4], stage, state, cgroup);
    }
    if (argc == 4 && !strcmp(argv[1], "enter")) return enter(state);
    if (argc == 4 && !strcmp(argv[1], "drop")) return end(state);
    dprintf(2, "usage: floor full|pod3|hold ID DIR LOWER CGROUP, or floor enter|drop ID DIR\n");
    return 125;
}
