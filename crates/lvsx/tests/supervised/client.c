/* A static client of the kernel's IPVS, without a library: what it asks and by which calls is named on its command line, and it prints
 * what came. It shows every call that a supervisor does in a program's place. */
#include <errno.h>
#include <fcntl.h>
#include <linux/genetlink.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GET_SERVICE = 4, GET_INFO = 15 };
enum { HEADERS = NLMSG_HDRLEN + GENL_HDRLEN };

static char request[256], answer[65536];
static unsigned sequence, port;

static void die(const char *what) {
    printf("%s: %s\n", what, strerror(errno));
    exit(1);
}

/* A request in `request`; its length. */
static size_t ask(int type, int flags, int command, const void *attributes, size_t length) {
    struct nlmsghdr header = {HEADERS + length, type, NLM_F_REQUEST | flags, ++sequence, port};
    struct genlmsghdr generic = {command, 1, 0};
    memcpy(request, &header, sizeof header);
    memcpy(request + NLMSG_HDRLEN, &generic, sizeof generic);
    if (length)
        memcpy(request + HEADERS, attributes, length);
    return header.nlmsg_len;
}

static int open_socket(int flags) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, NETLINK_GENERIC);
    struct sockaddr_nl own = {.nl_family = AF_NETLINK};
    socklen_t length = sizeof own;
    if (fd < 0 || bind(fd, (void *)&own, length) || getsockname(fd, (void *)&own, &length))
        die("socket");
    port = own.nl_pid;
    return fd;
}

/* The error of an acknowledgement, 1 for a message of another kind, 0 for success or an end. */
static int kind(const char *datagram) {
    const struct nlmsghdr *header = (const void *)datagram;
    if (header->nlmsg_seq != sequence || header->nlmsg_pid != port)
        printf("not the answer: sequence %u, port %u\n", header->nlmsg_seq, header->nlmsg_pid);
    if (header->nlmsg_type == NLMSG_ERROR)
        return *(const int *)(datagram + NLMSG_HDRLEN);
    return header->nlmsg_type == NLMSG_DONE ? 0 : 1;
}

/* By sendto and recvfrom. */
static int lookup(int fd) {
    static const char name[12] = {9, 0, CTRL_ATTR_FAMILY_NAME, 0, 'I', 'P', 'V', 'S'};
    struct sockaddr_nl to = {.nl_family = AF_NETLINK}, from;
    socklen_t length = sizeof from;
    size_t size = ask(GENL_ID_CTRL, NLM_F_ACK, CTRL_CMD_GETFAMILY, name, sizeof name);
    if (sendto(fd, request, size, 0, (void *)&to, sizeof to) != (ssize_t)size)
        die("sendto");
    int family = 0, got;
    do {
        memset(&from, 255, sizeof from);
        if (recvfrom(fd, answer, sizeof answer, 0, (void *)&from, &length) < 0)
            die("recvfrom");
        if (length != sizeof from || from.nl_family != AF_NETLINK || from.nl_pid || from.nl_groups)
            printf("the answer is from port %u\n", from.nl_pid);
        got = kind(answer);
        /* The id is the second attribute, behind the name. */
        if (got == 1)
            family = *(unsigned short *)(answer + HEADERS + NLA_ALIGN(*(unsigned short *)(answer + HEADERS)) + NLA_HDRLEN);
    } while (got > 0);
    if (got < 0) {
        printf("lookup: %s\n", strerror(-got));
        exit(2);
    }
    return family;
}

/* By sendmsg and recvmsg, in pieces, after a look at the length. */
static void info(int fd, int family) {
    size_t size = ask(family, 0, GET_INFO, 0, 0);
    struct sockaddr_nl peer = {.nl_family = AF_NETLINK};
    struct iovec pieces[2] = {{request, 3}, {request + 3, size - 3}};
    struct msghdr message = {&peer, sizeof peer, pieces, 2, 0, 0, 0};
    if (sendmsg(fd, &message, 0) != (ssize_t)size)
        die("sendmsg");
    struct iovec none = {answer, 0};
    struct msghdr look = {&peer, sizeof peer, &none, 1, 0, 0, 0};
    ssize_t length = recvmsg(fd, &look, MSG_PEEK | MSG_TRUNC);
    char second[65536];
    struct iovec parts[2] = {{answer, HEADERS}, {second, sizeof second}};
    message = (struct msghdr){&peer, sizeof peer, parts, 2, second, 0, 0};
    if (recvmsg(fd, &message, 0) != length || peer.nl_pid || message.msg_namelen != sizeof peer)
        die("recvmsg");
    printf("length %zd, flags %x then %x, version %x\n", length, look.msg_flags, message.msg_flags, *(unsigned *)(second + NLA_HDRLEN));
}

/* By write and read, on a duplicate, waited for by epoll. */
static void services(int family) {
    int fd = open_socket(SOCK_NONBLOCK), waiting = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    if (read(fd, answer, sizeof answer) >= 0 || errno != EAGAIN)
        die("read before");
    epoll_ctl(waiting, EPOLL_CTL_ADD, fd, &event);
    int again = dup(fd), more = fcntl(again, F_DUPFD_CLOEXEC, 3);
    if (again < 0 || more < 0 || close(again))
        die("dup");
    size_t size = ask(family, NLM_F_DUMP, GET_SERVICE, 0, 0);
    if (write(more, request, size) != (ssize_t)size)
        die("write");
    int count = 0, got = 1;
    while (got > 0) {
        if (epoll_wait(waiting, &event, 1, 10000) != 1)
            die("epoll");
        ssize_t length = read(fd, answer, sizeof answer);
        if (length < 0)
            die("read");
        for (struct nlmsghdr *at = (void *)answer; NLMSG_OK(at, length); at = NLMSG_NEXT(at, length))
            got = kind((char *)at), count += got == 1;
    }
    printf("services %d\n", count);
    if (read(more, answer, sizeof answer) >= 0 || errno != EAGAIN)
        die("read behind");
    close(more), close(fd), close(waiting);
}

/* The family of another name is the kernel's: nlctrl itself. */
static void others(void) {
    int fd = open_socket(0);
    static const char name[12] = {11, 0, CTRL_ATTR_FAMILY_NAME, 0, 'n', 'l', 'c', 't', 'r', 'l'};
    size_t size = ask(GENL_ID_CTRL, 0, CTRL_CMD_GETFAMILY, name, sizeof name);
    if (send(fd, request, size, 0) != (ssize_t)size || recv(fd, answer, sizeof answer, 0) < 0)
        die("nlctrl");
    printf("nlctrl %s\n", kind(answer) == 1 ? "answers" : "is silent");
    close(fd);
}

static volatile int alarms;
static void count_alarm(int signal) { (void)signal, alarms++; }

/* Signals come all the while, and nothing is lost or done twice. */
static void under_signals(int family) {
    struct sigaction action = {.sa_handler = count_alarm, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
    sigaction(SIGALRM, &action, 0);
    setitimer(ITIMER_REAL, &often, 0);
    int fd = open_socket(0);
    for (int round = 0; round < 50; round++)
        if (lookup(fd) != family)
            die("another family");
    setitimer(ITIMER_REAL, &never, 0);
    printf("signals %s\n", alarms ? "came" : "did not come");
    close(fd);
}

int main(int count, char **words) {
    setvbuf(stdout, 0, _IONBF, 0);
    int fd = open_socket(0), family = lookup(fd);
    for (int at = 1; at < count; at++) {
        const char *word = words[at];
        if (!strcmp(word, "family"))
            printf("family %x\n", family);
        else if (!strcmp(word, "info"))
            info(fd, family);
        else if (!strcmp(word, "services"))
            services(family);
        else if (!strcmp(word, "others"))
            others();
        else if (!strcmp(word, "signals"))
            under_signals(family);
        else if (!strcmp(word, "child")) {
            pid_t child = fork();
            int status;
            if (!child)
                execl("/proc/self/exe", "client", "family", (char *)0);
            waitpid(child, &status, 0);
            printf("other children: %s\n", wait(&status) < 0 ? "none" : "some");
        } else if (!strcmp(word, "namespace")) {
            if (unshare(CLONE_NEWNET))
                die("unshare");
            lookup(open_socket(0));
        } else if (!strcmp(word, "wait")) {
            /* Nothing was asked that is not answered: it waits until it is killed. */
            printf("waits as %d\n", getpid());
            recv(fd, answer, sizeof answer, 0);
        } else
            exit(atoi(word));
    }
    return 0;
}
