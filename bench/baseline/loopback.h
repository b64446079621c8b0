/*
 * What the baselines have in common: clocks, sockets on loopback, and how they wait.
 *
 * Each baseline is one program of its own, prints one JSON object, and ends with 0; with 2 where something
 * failed, and with 3 where the kernel does not have what it measures.
 */
#ifndef SEQCAST_BENCH_LOOPBACK_H
#define SEQCAST_BENCH_LOOPBACK_H

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

#define NS_PER_SECOND 1000000000
#define QUIET_SECONDS 2 /* who hears nothing for so long takes the rest for lost */
#define BUFFER_BYTES 4194304
#define FAILED 2
#define NOT_HERE 3 /* the kernel does not have it */

static inline void fail(const char *what)
{
    perror(what);
    exit(FAILED);
}

static inline int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

static inline void sleep_until(int64_t when_ns)
{
    struct timespec when = {.tv_sec = when_ns / NS_PER_SECOND, .tv_nsec = when_ns % NS_PER_SECOND};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) == EINTR) {
    }
}

/* "block" or "spin"; -1 for anything else. */
static inline int spins(const char *text)
{
    return strcmp(text, "spin") == 0 ? 1 : strcmp(text, "block") == 0 ? 0 : -1;
}

/* The next datagram, by a call that sleeps or by one that is made again and again; -1 after QUIET_SECONDS. */
static inline ssize_t wait_datagram(int in, void *buffer, size_t size, int spin)
{
    if (!spin)
        return recv(in, buffer, size, 0);
    int64_t deadline_ns = now_ns() + (int64_t)QUIET_SECONDS * NS_PER_SECOND;
    for (;;) {
        ssize_t length = recv(in, buffer, size, MSG_DONTWAIT);
        if (length >= 0 || errno != EAGAIN || now_ns() > deadline_ns)
            return length;
    }
}

static inline void set_patience(int in)
{
    struct timeval quiet = {.tv_sec = QUIET_SECONDS};
    setsockopt(in, SOL_SOCKET, SO_RCVTIMEO, &quiet, sizeof quiet);
}

static inline int bound_socket(struct sockaddr_in *address)
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

static inline int connected_socket(const struct sockaddr_in *address)
{
    int result = socket(AF_INET, SOCK_DGRAM, 0);
    if (result < 0 || connect(result, (const struct sockaddr *)address, sizeof *address) != 0)
        fail("connect");
    return result;
}

/* Writes "latencies_ns": [...] without the braces around it. */
static inline void print_latencies(const int64_t *latencies_ns, uint64_t count)
{
    printf("\"latencies_ns\": [");
    for (uint64_t i = 0; i < count; i++)
        printf(i ? ",%" PRId64 : "%" PRId64, latencies_ns[i]);
    printf("]");
}

#endif
