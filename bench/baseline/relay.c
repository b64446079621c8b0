/*
 * The baseline: what the machine can do when nobody orders, keeps, repairs or acknowledges anything.
 *
 *   relay throughput MESSAGES MESSAGE_BYTES PER_DATAGRAM     prints one JSON object
 *   relay latency    MESSAGES MESSAGE_BYTES RATE             writes one native int64 for each message:
 * nanoseconds
 *
 * Three processes on loopback, sender -> relay -> receiver, with blocking UDP sockets and one system call for
 * each datagram and hop. UDP has no back-pressure, so for throughput the receiver lets the sender go on by a
 * byte in a pipe for each CREDIT_DATAGRAMS: nothing is lost, and the rate is the highest that all three keep
 * up with. For latency message i leaves at t0 + i / RATE, whatever happened to the ones before, and carries
 * that time.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DATAGRAM_LIMIT 65507 /* UDP over IPv4 */
#define HEAD_BYTES 16        /* of each message: counter, scheduled time */
#define CREDIT_DATAGRAMS 32
#define CREDITS 4 /* at most 128 datagrams in flight: they fit a receive buffer of Linux's default size */
#define QUIET_SECONDS 2 /* a receiver that hears nothing for so long takes the rest for lost */
#define BUFFER_BYTES 4194304
#define NS_PER_SECOND 1000000000

/* What the receiver tells the others; shared memory. */
typedef struct {
    int64_t first_ns, last_ns;
    uint64_t received, wrong, first_batch;
    int64_t latencies_ns[];
} report;

static void fail(const char *what)
{
    perror(what);
    exit(2);
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

static void sleep_until(int64_t when_ns)
{
    struct timespec when = {.tv_sec = when_ns / NS_PER_SECOND, .tv_nsec = when_ns % NS_PER_SECOND};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) == EINTR) {
    }
}

static int bound_socket(struct sockaddr_in *address)
{
    int result = socket(AF_INET, SOCK_DGRAM, 0);
    int size = BUFFER_BYTES;
    socklen_t length = sizeof *address;
    memset(address, 0, sizeof *address);
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (result < 0 || bind(result, (struct sockaddr *)address, length) != 0 ||
        getsockname(result, (struct sockaddr *)address, &length) != 0)
        fail("socket");
    setsockopt(result, SOL_SOCKET, SO_RCVBUF, &size, sizeof size); /* as much as the kernel lets us */
    return result;
}

static int connected_socket(const struct sockaddr_in *address)
{
    int result = socket(AF_INET, SOCK_DGRAM, 0);
    if (result < 0 || connect(result, (const struct sockaddr *)address, sizeof *address) != 0)
        fail("connect");
    return result;
}

static void relay(int in, int out)
{
    static uint8_t datagram[DATAGRAM_LIMIT];
    for (;;) {
        ssize_t length = recv(in, datagram, sizeof datagram, 0);
        if (length < 0 || send(out, datagram, (size_t)length, 0) != length)
            fail("relay");
    }
}

static void receive(int in, int credit, uint64_t messages, size_t message_bytes, int timed, report *result)
{
    static uint8_t datagram[DATAGRAM_LIMIT];
    struct timeval quiet = {.tv_sec = QUIET_SECONDS};
    uint64_t datagrams = 0, expected = 0;
    setsockopt(in, SOL_SOCKET, SO_RCVTIMEO, &quiet, sizeof quiet);
    while (result->received < messages) {
        ssize_t length = recv(in, datagram, sizeof datagram, 0);
        if (length < 0)
            return; /* what has not come by now is lost */
        int64_t now = now_ns();
        size_t count = (size_t)length / message_bytes;
        for (size_t i = 0; i < count; i++) {
            uint64_t counter;
            int64_t scheduled_ns;
            memcpy(&counter, datagram + i * message_bytes, sizeof counter);
            memcpy(&scheduled_ns, datagram + i * message_bytes + sizeof counter, sizeof scheduled_ns);
            result->wrong += counter != expected;
            expected = counter + 1;
            if (timed && result->received < messages)
                result->latencies_ns[result->received] = now - scheduled_ns;
            result->received++;
        }
        if (result->first_ns == 0) {
            result->first_ns = now;
            result->first_batch = count;
        }
        result->last_ns = now;
        if (!timed && ++datagrams % CREDIT_DATAGRAMS == 0 && write(credit, "", 1) != 1)
            return; /* the sender is done */
    }
}

static void transmit(int out, int credit, uint64_t messages, size_t message_bytes, uint64_t per_datagram,
                     int64_t rate)
{
    static uint8_t datagram[DATAGRAM_LIMIT];
    int64_t start_ns = now_ns() + NS_PER_SECOND / 20;
    uint64_t sent = 0, datagrams = 0;
    while (sent < messages) {
        uint64_t count = messages - sent < per_datagram ? messages - sent : per_datagram;
        int64_t scheduled_ns = rate ? start_ns + (int64_t)((__int128)sent * NS_PER_SECOND / rate) : 0;
        for (uint64_t i = 0; i < count; i++) {
            uint64_t counter = sent + i;
            memcpy(datagram + i * message_bytes, &counter, sizeof counter);
            memcpy(datagram + i * message_bytes + sizeof counter, &scheduled_ns, sizeof scheduled_ns);
        }
        if (rate) {
            sleep_until(scheduled_ns);
        } else if (datagrams >= CREDITS * CREDIT_DATAGRAMS && datagrams % CREDIT_DATAGRAMS == 0) {
            uint8_t byte;
            if (read(credit, &byte, 1) != 1)
                return; /* the receiver gave up */
        }
        if (send(out, datagram, count * message_bytes, 0) < 0)
            fail("send");
        sent += count;
        datagrams++;
    }
}

int main(int argc, char **argv)
{
    int timed = argc == 5 && strcmp(argv[1], "latency") == 0;
    if (!timed && (argc != 5 || strcmp(argv[1], "throughput") != 0)) {
        fprintf(stderr, "usage: relay throughput MESSAGES MESSAGE_BYTES PER_DATAGRAM\n"
                        "       relay latency MESSAGES MESSAGE_BYTES RATE\n");
        return 2;
    }
    uint64_t messages = strtoull(argv[2], NULL, 10);
    size_t message_bytes = strtoull(argv[3], NULL, 10);
    uint64_t last = strtoull(argv[4], NULL, 10);
    uint64_t per_datagram = timed ? 1 : last;
    if (messages < 1 || messages > UINT32_MAX || message_bytes < HEAD_BYTES || last < 1 ||
        message_bytes > DATAGRAM_LIMIT / per_datagram || (timed && last > NS_PER_SECOND)) {
        fprintf(stderr, "relay: an argument is out of range\n");
        return 2;
    }
    prctl(PR_SET_TIMERSLACK, 1UL); /* else each sleep is up to 50 us too long */
    size_t shared_bytes = sizeof(report) + (timed ? messages * sizeof(int64_t) : 0);
    report *result = mmap(NULL, shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int credit[2];
    struct sockaddr_in relay_address, receiver_address;
    if (result == MAP_FAILED || pipe(credit) != 0)
        fail("relay");
    int receiver_in = bound_socket(&receiver_address);
    int relay_in = bound_socket(&relay_address);
    int relay_out = connected_socket(&receiver_address);
    int sender_out = connected_socket(&relay_address);

    pid_t parent = getpid();
    pid_t receiver_process = fork();
    if (receiver_process == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGPIPE, SIG_IGN);
        close(credit[0]);
        receive(receiver_in, credit[1], messages, message_bytes, timed, result);
        _exit(getppid() == parent ? 0 : 1);
    }
    pid_t relay_process = fork();
    if (relay_process == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(credit[0]);
        close(credit[1]); /* else the sender would not see the receiver go */
        relay(relay_in, relay_out);
    }
    if (receiver_process < 0 || relay_process < 0)
        fail("fork");
    close(credit[1]);
    transmit(sender_out, credit[0], messages, message_bytes, per_datagram, timed ? (int64_t)last : 0);
    int status = 0;
    if (waitpid(receiver_process, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fprintf(stderr, "relay: the receiver failed\n");
    kill(relay_process, SIGKILL);
    waitpid(relay_process, NULL, 0);
    if (timed) {
        size_t received = result->received;
        return fwrite(result->latencies_ns, sizeof(int64_t), received, stdout) == received ? 0 : 2;
    }
    printf("{\"received\": %" PRIu64 ", \"wrong\": %" PRIu64 ", \"first_batch\": %" PRIu64
           ", \"first_ns\": %" PRId64 ", \"last_ns\": %" PRId64 "}\n",
           result->received, result->wrong, result->first_batch, result->first_ns, result->last_ns);
    return 0;
}
