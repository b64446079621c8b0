#define _GNU_SOURCE
#include "express.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "clock.h"
#include "order.h"
#include "soup.h"

static uint64_t last_number(const sc_segment *s)
{
    return s->first + s->count - 1;
}

/* The lane of a ready descriptor that may be read here; NULL for any other. */
static sc_lane *lane_of(const sc_express *x, const sc_ready *ready)
{
    if (ready->events != EPOLLIN || ready->fd < 0 || (uint32_t)ready->fd >= x->lane_limit)
        return NULL;
    sc_lane *lane = x->by_fd[ready->fd];
    return lane == NULL || lane->closed ? NULL : lane;
}

/* Order what one read brings. 0 when nothing of it is left to the owner. */
static int take(sc_express *x, sc_lane *lane, uint64_t time)
{
    ssize_t received;
    do
        received = recv(lane->fd, lane->buffer, lane->capacity, MSG_DONTWAIT);
    while (received < 0 && errno == EINTR);
    if (received <= 0) /* its end, or an error: the owner will meet it, too */
        return received == 0 || errno != EAGAIN;
    uint32_t end = (uint32_t)received, at = 0;
    while (at < end) {
        uint32_t consumed;
        uint32_t count =
            sc_soup_run(lane->buffer + at, end - at, 'U', 0, x->rows, x->row_capacity, &consumed);
        if (count == 0)
            break;
        sc_order_result result;
        sc_order(x->tail, x->senders, lane->slot, time, x->payload_limit, lane->buffer + at, x->rows, count,
                 &result);
        x->stamped += result.stamped;
        lane->duplicates += result.duplicates;
        if (result.stop != SC_ORDER_ALL) {
            at += x->rows[result.taken].offset - SC_SOUP_HEADER_BYTES;
            break;
        }
        at += consumed;
    }
    lane->start = at < end ? at : 0;
    lane->end = at < end ? end : 0;
    lane->closed = at < end; /* until the owner has dealt with it: more may be missing that follows there */
    return at < end || lane->duplicates > 0;
}

/* Send the batch on every line; 0 when all of it has left. */
static int send_batch(sc_express *x)
{
    uint32_t count = sc_outgoing_count(x->outgoing);
    for (uint32_t line = 0; line < x->line_count; line++) {
        x->sent[line] = 0;
        while (x->sent[line] < count) {
            int sent = sc_outgoing_send(x->outgoing, x->lines[line], x->sent[line], (int)x->segmented[line]);
            if (sent <= 0) { /* the owner tries again, and finds out why */
                x->behind = 1;
                break;
            }
            x->sent[line] += (uint32_t)sent;
            x->datagrams[line] += (uint32_t)sent;
        }
    }
    return (int)x->behind;
}

static void publish(sc_express *x, uint64_t now)
{
    while (x->next_number <= x->number) {
        uint64_t following = sc_outgoing_fill(x->outgoing, x->tail, x->next_number, x->number);
        if (following == x->next_number) { /* larger than a datagram: for the owner */
            x->behind = 1;
            x->sent[0] = x->sent[1] = sc_outgoing_count(x->outgoing);
            return;
        }
        x->next_number = following;
        x->published_ns = now;
        if (send_batch(x) != 0)
            return;
    }
}

/* Tell senders what is committed; 0 when all of them took it. */
static int tell(sc_express *x, uint64_t now)
{
    sc_answers *a = x->answers;
    int stuck = 0;
    while (x->told < x->number && !stuck) {
        x->told = sc_answers_fill(a, x->senders, x->tail, x->told + 1, x->number) - 1;
        uint32_t begin = 0;
        for (uint32_t i = 0; i < a->senders; begin = a->ends[i], i++) {
            sc_lane *lane = x->by_slot[a->slots[i]];
            if (lane == NULL) /* who has gone is told nothing */
                continue;
            ssize_t sent;
            do
                sent = send(lane->fd, a->packets + begin, a->ends[i] - begin, MSG_DONTWAIT | MSG_NOSIGNAL);
            while (sent < 0 && errno == EINTR);
            lane->told_ns = now;
            if (sent == (ssize_t)(a->ends[i] - begin))
                continue;
            lane->untold = begin + (sent > 0 ? (uint32_t)sent : 0);
            lane->untold_end = a->ends[i];
            x->exceptions++;
            stuck = 1;
        }
    }
    return stuck;
}

int32_t sc_express_run(sc_express *x, int epoll, sc_ready *ready, uint32_t capacity, uint64_t timeout_ns,
                       uint64_t spin_ns, uint64_t stay_ns)
{
    uint64_t deadline = sc_clock_ns(CLOCK_MONOTONIC) + timeout_ns;
    uint64_t first = 0; /* when the first message came */
    uint64_t left_ns = timeout_ns;

    x->number = x->told = last_number(x->tail);
    x->next_number = x->number + 1;
    x->published_ns = 0;
    x->behind = x->exceptions = 0;
    for (;;) {
        int32_t count = sc_wait(epoll, ready, capacity, left_ns, spin_ns);
        if (count < 0)
            return count;
        uint64_t now = sc_clock_ns(CLOCK_MONOTONIC);
        uint64_t time = sc_clock_ns(CLOCK_REALTIME);
        if (time < x->tail->last_time)
            time = x->tail->last_time; /* the clock went back */
        int32_t kept = 0;
        for (int32_t i = 0; i < count; i++) {
            sc_lane *lane = lane_of(x, &ready[i]);
            int left = 1;
            if (lane != NULL) {
                lane->heard_ns = now;
                left = take(x, lane, time);
                x->exceptions += (uint32_t)left;
            }
            if (left)
                ready[kept++] = ready[i];
        }
        int stuck = 0;
        if (last_number(x->tail) > x->number) {
            x->number = last_number(x->tail);
            x->turns++;
            uint64_t committed = sc_clock_ns(CLOCK_MONOTONIC);
            publish(x, now);
            sc_span_turn(x->to_commit, x->to_wire, x->number, x->number, x->next_number - 1, now, committed,
                         sc_clock_ns(CLOCK_MONOTONIC));
            stuck = tell(x, now);
            if (first == 0) {
                first = now;
                if (now + stay_ns < deadline)
                    deadline = now + stay_ns;
            }
        }
        if (kept > 0 || stuck || x->behind || now >= deadline)
            return kept;
        if (count == 0) /* a signal, or the time is over */
            return 0;
        left_ns = deadline - now;
    }
}
