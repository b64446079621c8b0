/* Waiting for ready descriptors: in nanoseconds, and first by spinning where that is wanted. */
#ifndef SC_WAIT_H
#define SC_WAIT_H

#include <stdint.h>

/* [cdef] */
typedef struct {
    int32_t fd;
    uint32_t events; /* as of epoll */
} sc_ready;

#define SC_WAIT_MAX 256

int32_t sc_wait(int epoll, sc_ready *ready, uint32_t capacity, uint64_t timeout_ns, uint64_t spin_ns);
/* [/cdef] */

/* Waits at most `timeout_ns` for descriptors of an epoll set; of that time it looks again and again for the
 * first `spin_ns`, and sleeps for the rest. Fills at most `capacity` of `ready`, and no more than
 * SC_WAIT_MAX; returns how many, 0 when the time is over or a signal came, or a negative errno.
 *
 * A sleep has the resolution of the kernel's timers where it has epoll_pwait2 (Linux 5.11), and ends within
 * the next millisecond where it has not. A signal ends a sleep and no spinning: keep `spin_ns` short. */

#endif
