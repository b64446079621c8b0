/*
 * Multicast ping-pong: the least that a message and its answer take over a multicast group on loopback.
 *
 *   pingpong ROUND_TRIPS BYTES block|spin
 *
 * Two processes, each with one socket to send and one that has joined the group; one datagram is in flight.
 * The latencies are those of whole round trips: two hops. With "spin" neither of them ever sleeps.
 */
#define _GNU_SOURCE
#include "loopback.h"

#define BYTES_LIMIT 1472   /* an Ethernet frame */
#define WARM_UP 100        /* round trips that are not counted */
#define GROUPS 0xEFC00000U /* 239.192.0.0/14: free for any use inside one organisation */
#define GROUPS_MASK 0x3FFFFU

/* A socket that has joined the group on a port of its own, and the address to send to. */
static int joined_socket(struct in_addr group, struct sockaddr_in *address)
{
    int result = socket(AF_INET, SOCK_DGRAM, 0);
    socklen_t length = sizeof *address;
    struct ip_mreq membership = {.imr_multiaddr = group, .imr_interface.s_addr = htonl(INADDR_LOOPBACK)};
    memset(address, 0, sizeof *address);
    address->sin_family = AF_INET;
    address->sin_addr = group;
    if (result < 0 || bind(result, (struct sockaddr *)address, length) != 0 ||
        getsockname(result, (struct sockaddr *)address, &length) != 0 ||
        setsockopt(result, IPPROTO_IP, IP_ADD_MEMBERSHIP, &membership, sizeof membership) != 0)
        fail("group");
    set_patience(result);
    return result;
}

static int sending_socket(const struct sockaddr_in *address)
{
    struct in_addr loopback = {.s_addr = htonl(INADDR_LOOPBACK)};
    int result = socket(AF_INET, SOCK_DGRAM, 0);
    if (result < 0 || setsockopt(result, IPPROTO_IP, IP_MULTICAST_IF, &loopback, sizeof loopback) != 0 ||
        connect(result, (const struct sockaddr *)address, sizeof *address) != 0)
        fail("connect");
    return result;
}

int main(int argc, char **argv)
{
    uint64_t trips = argc == 4 ? strtoull(argv[1], NULL, 10) : 0;
    size_t bytes = argc == 4 ? strtoull(argv[2], NULL, 10) : 0;
    int spin = argc == 4 ? spins(argv[3]) : -1;
    if (trips < 1 || trips > 10000000 || bytes < sizeof trips || bytes > BYTES_LIMIT || spin < 0) {
        fprintf(stderr, "usage: pingpong ROUND_TRIPS BYTES block|spin\n");
        return FAILED;
    }
    uint8_t datagram[BYTES_LIMIT] = {0};
    int64_t *latencies_ns = calloc(trips, sizeof *latencies_ns);
    struct in_addr group = {.s_addr =
                                htonl(GROUPS | (((uint32_t)getpid() * 2654435761U) >> 8 & GROUPS_MASK))};
    struct sockaddr_in here, there;
    int in = joined_socket(group, &here), far_in = joined_socket(group, &there);
    int out = sending_socket(&there), far_out = sending_socket(&here);
    if (latencies_ns == NULL)
        fail("pingpong");
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (uint64_t i = 0; i < trips + WARM_UP; i++)
            if (wait_datagram(far_in, datagram, sizeof datagram, spin) != (ssize_t)bytes ||
                send(far_out, datagram, bytes, 0) != (ssize_t)bytes)
                _exit(FAILED);
        _exit(0);
    }
    if (child < 0)
        fail("fork");
    for (uint64_t i = 0; i < trips + WARM_UP; i++) {
        int64_t start_ns = now_ns();
        uint64_t answer = ~i;
        memcpy(datagram, &i, sizeof i);
        if (send(out, datagram, bytes, 0) != (ssize_t)bytes ||
            wait_datagram(in, datagram, sizeof datagram, spin) != (ssize_t)bytes)
            fail("pingpong");
        memcpy(&answer, datagram, sizeof answer);
        if (answer != i) {
            fprintf(stderr, "pingpong: answer %" PRIu64 " to question %" PRIu64 "\n", answer, i);
            return FAILED;
        }
        if (i >= WARM_UP)
            latencies_ns[i - WARM_UP] = now_ns() - start_ns;
    }
    waitpid(child, NULL, 0);
    printf("{\"round_trips\": %" PRIu64 ", ", trips);
    print_latencies(latencies_ns, trips);
    printf("}\n");
    free(latencies_ns);
    return 0;
}
