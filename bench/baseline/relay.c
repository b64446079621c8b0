/*
 * The bare relay: what the machine can do when nobody orders, keeps, repairs or acknowledges anything.
 *
 *   relay throughput MESSAGES MESSAGE_BYTES PER_DATAGRAM DATAGRAMS_PER_CALL block|spin
 *   relay latency    MESSAGES MESSAGE_BYTES RATE block|spin
 *
 * Three processes on loopback, sender -> relay -> receiver, over UDP. With one datagram a call each hop is a
 * plain send and a plain receive. With more, each call hands the kernel one buffer that it cuts into
 * datagrams (UDP_SEGMENT), and takes one into which it has joined them again (UDP_GRO).
 *
 * UDP has no back-pressure, so for throughput the receiver lets the sender go on by a byte in a pipe for each
 * so many calls: nothing is lost, and the rate is the highest that all three keep up with. For latency
 * message i leaves at t0 + i / RATE, whatever happened to the ones before, and carries that time. With "spin"
 * the relay and the receiver never sleep; the sender sleeps until its next message is due all the same.
 */
#define _GNU_SOURCE
#include "loopback.h"

#include <netinet/in.h>
#include <netinet/udp.h>

#define DATAGRAM_LIMIT 65507 /* UDP over IPv4; also the most that one call may hand over to be cut */
#define SEGMENTS_LIMIT 64    /* the kernel's, UDP_MAX_SEGMENTS */
#define HEAD_BYTES 16        /* of each message: counter, scheduled time */
#define CREDIT_CALLS 32
#define CREDITS 4 /* at most 128 datagrams in flight: they fit a receive buffer of Linux's default size */

/* What the receiver tells the others; shared memory. */
typedef struct {
    int64_t first_ns, last_ns;
    uint64_t received, wrong, first_batch;
    int64_t latencies_ns[];
} report;

/* How the messages travel. */
typedef struct {
    uint64_t messages;
    size_t message_bytes;
    uint64_t per_datagram, per_call; /* messages in a datagram, and in what one system call hands over */
    uint64_t credit_calls;           /* calls for one byte of credit */
    int64_t rate;                    /* messages a second; 0 for as fast as it goes */
    int spin;
} plan;

/* Let the kernel cut what is sent here into datagrams of so many bytes. */
static void set_segments(int out, size_t datagram_bytes)
{
    int size = (int)datagram_bytes;
    if (setsockopt(out, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size) != 0) {
        fprintf(stderr, "relay: the kernel has no segmentation offload: %s\n", strerror(errno));
        exit(NOT_HERE);
    }
}

static void set_joining(int in)
{
    int on = 1;
    if (setsockopt(in, IPPROTO_UDP, UDP_GRO, &on, sizeof on) != 0) {
        fprintf(stderr, "relay: the kernel has no receive offload: %s\n", strerror(errno));
        exit(NOT_HERE);
    }
}

static void relay(int in, int out, int spin)
{
    static uint8_t datagram[DATAGRAM_LIMIT];
    for (;;) {
        ssize_t length = wait_datagram(in, datagram, sizeof datagram, spin);
        if (length < 0 && errno == EAGAIN)
            continue; /* a pause */
        if (length < 0 || send(out, datagram, (size_t)length, 0) != length)
            fail("relay");
    }
}

static void receive(int in, int credit, const plan *plan, report *result)
{
    static uint8_t datagram[DATAGRAM_LIMIT];
    uint64_t messages = plan->messages, expected = 0, credited = 0;
    uint64_t credit_messages = plan->credit_calls * plan->per_call;
    size_t message_bytes = plan->message_bytes;
    int timed = plan->rate != 0;
    set_patience(in);
    while (result->received < messages) {
        ssize_t length = wait_datagram(in, datagram, sizeof datagram, plan->spin);
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
        for (; !timed && credited + credit_messages <= result->received; credited += credit_messages)
            if (write(credit, "", 1) != 1)
                return; /* the sender is done */
    }
}

static void transmit(int out, int credit, const plan *plan)
{
    static uint8_t datagram[DATAGRAM_LIMIT];
    int64_t start_ns = now_ns() + NS_PER_SECOND / 20;
    uint64_t messages = plan->messages, sent = 0, calls = 0;
    size_t message_bytes = plan->message_bytes;
    while (sent < messages) {
        uint64_t count = messages - sent < plan->per_call ? messages - sent : plan->per_call;
        int64_t scheduled_ns =
            plan->rate ? start_ns + (int64_t)((__int128)sent * NS_PER_SECOND / plan->rate) : 0;
        for (uint64_t i = 0; i < count; i++) {
            uint64_t counter = sent + i;
            memcpy(datagram + i * message_bytes, &counter, sizeof counter);
            memcpy(datagram + i * message_bytes + sizeof counter, &scheduled_ns, sizeof scheduled_ns);
        }
        if (plan->rate) {
            sleep_until(scheduled_ns);
        } else if (calls >= CREDITS * plan->credit_calls && calls % plan->credit_calls == 0) {
            uint8_t byte;
            if (read(credit, &byte, 1) != 1)
                return; /* the receiver gave up */
        }
        if (send(out, datagram, count * message_bytes, 0) < 0)
            fail("send");
        sent += count;
        calls++;
    }
}

static int understood(int argc, char **argv, plan *plan)
{
    int timed = argc == 6 && strcmp(argv[1], "latency") == 0;
    if (!timed && (argc != 7 || strcmp(argv[1], "throughput") != 0)) {
        fprintf(stderr, "usage: relay throughput MESSAGES MESSAGE_BYTES PER_DATAGRAM DATAGRAMS_PER_CALL "
                        "block|spin\n"
                        "       relay latency MESSAGES MESSAGE_BYTES RATE block|spin\n");
        return 0;
    }
    uint64_t rate = timed ? strtoull(argv[4], NULL, 10) : 0;
    uint64_t datagrams = timed ? 1 : strtoull(argv[5], NULL, 10);
    plan->messages = strtoull(argv[2], NULL, 10);
    plan->message_bytes = strtoull(argv[3], NULL, 10);
    plan->per_datagram = timed ? 1 : strtoull(argv[4], NULL, 10);
    plan->spin = spins(argv[argc - 1]);
    if (plan->messages < 1 || plan->messages > UINT32_MAX || plan->message_bytes < HEAD_BYTES ||
        datagrams < 1 || datagrams > SEGMENTS_LIMIT || plan->per_datagram < 1 ||
        plan->per_datagram > DATAGRAM_LIMIT ||
        plan->message_bytes > DATAGRAM_LIMIT / (plan->per_datagram * datagrams) || plan->spin < 0 ||
        (timed && (rate < 1 || rate > NS_PER_SECOND))) {
        fprintf(stderr, "relay: an argument is out of range\n");
        return 0;
    }
    plan->rate = (int64_t)rate;
    plan->per_call = plan->per_datagram * datagrams;
    plan->credit_calls = datagrams > 1 ? 1 : CREDIT_CALLS;
    return 1;
}

int main(int argc, char **argv)
{
    plan plan;
    if (!understood(argc, argv, &plan))
        return FAILED;
    int timed = plan.rate != 0;
    prctl(PR_SET_TIMERSLACK, 1UL); /* else each sleep is up to 50 us too long */
    size_t shared_bytes = sizeof(report) + (timed ? plan.messages * sizeof(int64_t) : 0);
    report *result = mmap(NULL, shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int credit[2];
    struct sockaddr_in relay_address, receiver_address;
    if (result == MAP_FAILED || pipe(credit) != 0)
        fail("relay");
    int receiver_in = bound_socket(&receiver_address);
    int relay_in = bound_socket(&relay_address);
    int relay_out = connected_socket(&receiver_address);
    int sender_out = connected_socket(&relay_address);
    if (plan.per_call > plan.per_datagram) {
        set_segments(sender_out, plan.per_datagram * plan.message_bytes);
        set_segments(relay_out, plan.per_datagram * plan.message_bytes);
        set_joining(relay_in);
        set_joining(receiver_in);
    }

    pid_t parent = getpid();
    pid_t receiver_process = fork();
    if (receiver_process == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGPIPE, SIG_IGN);
        close(credit[0]);
        receive(receiver_in, credit[1], &plan, result);
        _exit(getppid() == parent ? 0 : 1);
    }
    pid_t relay_process = fork();
    if (relay_process == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(credit[0]);
        close(credit[1]); /* else the sender would not see the receiver go */
        relay(relay_in, relay_out, plan.spin);
    }
    if (receiver_process < 0 || relay_process < 0)
        fail("fork");
    close(credit[1]);
    transmit(sender_out, credit[0], &plan);
    int status = 0;
    if (waitpid(receiver_process, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fprintf(stderr, "relay: the receiver failed\n");
    kill(relay_process, SIGKILL);
    waitpid(relay_process, NULL, 0);
    printf("{\"received\": %" PRIu64 ", \"wrong\": %" PRIu64 ", \"first_batch\": %" PRIu64
           ", \"first_ns\": %" PRId64 ", \"last_ns\": %" PRId64,
           result->received, result->wrong, result->first_batch, result->first_ns, result->last_ns);
    if (timed) {
        printf(", ");
        print_latencies(result->latencies_ns, result->received);
    }
    printf("}\n");
    return 0;
}
