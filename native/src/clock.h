/* The clocks, in nanoseconds. */
#ifndef SC_CLOCK_H
#define SC_CLOCK_H

#include <stdint.h>
#include <time.h>

enum { SC_NS_PER_S = 1000000000 };

static inline uint64_t sc_clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * SC_NS_PER_S + (uint64_t)now.tv_nsec;
}

#endif
