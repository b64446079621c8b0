#define _GNU_SOURCE
#include "wait.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"

enum { NS_PER_MS = 1000000 };

/* epoll_wait in whole milliseconds, rounded up, so that a timer is never looked at before it is due. */
static int sleep_ms(int epoll, struct epoll_event *events, int capacity, uint64_t timeout_ns)
{
    uint64_t ms = timeout_ns / NS_PER_MS + (timeout_ns % NS_PER_MS != 0);
    return epoll_wait(epoll, events, capacity, ms > INT32_MAX ? INT32_MAX : (int)ms);
}

static int sleep_ns(int epoll, struct epoll_event *events, int capacity, uint64_t timeout_ns)
{
#ifdef SYS_epoll_pwait2
    static int missing; /* the kernel's answer never changes while the process lives */
    if (!missing) {
        struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / SC_NS_PER_S),
                                   .tv_nsec = (long)(timeout_ns % SC_NS_PER_S)};
        int count = (int)syscall(SYS_epoll_pwait2, epoll, events, capacity, &timeout, NULL, 0);
        /* A filter of system calls says EPERM to what it does not know. */
        if (count >= 0 || (errno != ENOSYS && errno != EPERM))
            return count;
        missing = 1;
    }
#endif
    return sleep_ms(epoll, events, capacity, timeout_ns);
}

int32_t sc_wait(int epoll, sc_ready *ready, uint32_t capacity, uint64_t timeout_ns, uint64_t spin_ns)
{
    struct epoll_event events[SC_WAIT_MAX];
    int most = capacity < SC_WAIT_MAX ? (int)capacity : SC_WAIT_MAX;
    int count;
    if (timeout_ns == 0) {
        count = epoll_wait(epoll, events, most, 0);
    } else if (spin_ns == 0) {
        count = sleep_ns(epoll, events, most, timeout_ns);
    } else {
        uint64_t begin = sc_clock_ns(CLOCK_MONOTONIC), spent = 0;
        uint64_t spin = spin_ns < timeout_ns ? spin_ns : timeout_ns;
        do {
            count = epoll_wait(epoll, events, most, 0);
            spent = sc_clock_ns(CLOCK_MONOTONIC) - begin;
        } while (count == 0 && spent < spin);
        if (count == 0 && spent < timeout_ns)
            count = sleep_ns(epoll, events, most, timeout_ns - spent);
    }
    if (count < 0)
        return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < count; i++)
        ready[i] = (sc_ready){.fd = events[i].data.fd, .events = events[i].events};
    return count;
}
