#define _GNU_SOURCE
#include "wait.h"

#include <errno.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

enum { MICROSECOND = 1000, MILLISECOND = 1000000 };

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* How long one wait took. */
static uint64_t waited(int set, uint64_t timeout_ns, uint64_t spin_ns)
{
    sc_ready ready[2];
    uint64_t begin = now_ns();
    CHECK(sc_wait(set, ready, 2, timeout_ns, spin_ns) == 0);
    return now_ns() - begin;
}

int main(void)
{
    int ends[2][2], set = epoll_create1(0);
    sc_ready ready[2];
    CHECK(set >= 0);
    for (int i = 0; i < 2; i++) {
        CHECK(pipe(ends[i]) == 0);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = ends[i][0]};
        CHECK(epoll_ctl(set, EPOLL_CTL_ADD, ends[i][0], &event) == 0);
    }
    /* never too early, however it waits */
    const uint64_t times[] = {0, 300 * MICROSECOND, 2 * MILLISECOND};
    for (int i = 0; i < 3; i++) {
        CHECK(waited(set, times[i], 0) >= times[i]);
        CHECK(waited(set, times[i], 100 * MICROSECOND) >= times[i]);
        CHECK(waited(set, times[i], UINT64_MAX) >= times[i]);
    }
    /* not a millisecond too late, in the best of many trials */
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < 200 && best >= 900 * MICROSECOND; i++) {
        uint64_t took = waited(set, 200 * MICROSECOND, 0);
        best = took < best ? took : best;
    }
    CHECK(best < 900 * MICROSECOND);

    CHECK(write(ends[1][1], "x", 1) == 1);
    const uint64_t spins[] = {0, MILLISECOND, UINT64_MAX};
    for (int i = 0; i < 3; i++) {
        CHECK(sc_wait(set, ready, 2, UINT64_MAX / 2, spins[i]) == 1);
        CHECK(ready[0].fd == ends[1][0] && ready[0].events == EPOLLIN);
    }
    close(ends[0][1]); /* the other end hung up */
    CHECK(sc_wait(set, ready, 2, 0, 0) == 2);
    CHECK(sc_wait(set, ready, 1, 0, 0) == 1);
    CHECK(sc_wait(-1, ready, 2, 0, 0) == -EBADF && sc_wait(-1, ready, 2, MILLISECOND, 0) == -EBADF);
    CHECK(sc_wait(-1, ready, 2, MILLISECOND, MILLISECOND) == -EBADF);
    return 0;
}
