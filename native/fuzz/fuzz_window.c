/* Drives a reorder window with a program of steps made from the input. Steps put true packets of a known
 * stream, in any split and order, and, where the first byte allows it, arbitrary datagrams of the same
 * session.
 *
 * Always:             delivered numbers follow each other, rows lie inside the slab, gaps are apart from each
 * other, in order, and between next_number and highest; nothing is held beyond the limit; lines and the other
 * session that is kept in view are counted so that the numbers fit each other. True packets only:
 * every delivered message has the bytes of its number, gaps hold nothing that is held, and after one more
 * pass over the whole stream everything was delivered and the session has ended.
 *
 * Where the first byte says so, datagrams are coalesced by the kernel, and come through a socket. */
#include <arpa/inet.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "window.h"

#define REQUIRE(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

enum { BLOCKS = 9, BLOCK_BYTES = 96, BATCH = 3, ROWS = 16, LAST = 200, COUNT_MAX = 12 };

/* A pool for coalesced datagrams, and how many a step sends at once: fewer than the smallest datagram may be
 * many. */
enum { POOL = 2 * SC_WINDOW_SEGMENTS + 6, SEGMENTS_MAX = 60, WAIT_MS = 1000 };
enum { UDP_SEGMENT_OPTION = 103, UDP_GRO_OPTION = 104 };

static const uint8_t SESSION[10] = "SESS000001", STRANGER[10] = "SESS000002";

struct run {
    sc_window *window;
    const sc_window_state *state;
    int32_t protocol;
    int liars;
    uint64_t expected;
    int in, out; /* of the socket that coalesces; `in` is -1 without */
    uint32_t held_max;
    uint8_t slab[POOL * BLOCK_BYTES];
};

/* Message n is 1 to 5 bytes of value n. */
static uint32_t message_length(uint64_t number)
{
    return 1 + (uint32_t)(number % 5);
}

static void take(struct run *run, uint32_t capacity)
{
    sc_message rows[ROWS];
    uint32_t count = sc_window_messages(run->window, rows, capacity);
    REQUIRE(count <= capacity);
    for (uint32_t i = 0; i < count; i++) {
        if (run->expected == 0)
            run->expected = rows[i].number;
        REQUIRE(rows[i].number == run->expected);
        REQUIRE(rows[i].offset <= sizeof run->slab && rows[i].length <= sizeof run->slab - rows[i].offset);
        run->expected++;
        if (run->liars)
            continue;
        REQUIRE(rows[i].length == message_length(rows[i].number));
        for (uint32_t j = 0; j < rows[i].length; j++)
            REQUIRE(run->slab[rows[i].offset + j] == (uint8_t)rows[i].number);
    }
    REQUIRE(run->expected == 0 || run->expected == run->state->next_number);
    REQUIRE(run->state->held <= run->held_max);

    sc_gap gaps[POOL + 1];
    uint32_t gap_count = sc_window_gaps(run->window, gaps, POOL + 1);
    uint64_t position = run->state->next_number;
    for (uint32_t i = 0; i < gap_count; i++) {
        REQUIRE(gaps[i].count > 0 && gaps[i].first >= position);
        REQUIRE(i == 0 || gaps[i].first > position);
        position = gaps[i].first + gaps[i].count;
        REQUIRE(position <= run->state->highest);
    }
    const sc_window_state *state = run->state;
    uint64_t seen = 0;
    for (uint32_t line = 0; line < SC_WINDOW_LINES; line++) {
        REQUIRE(state->line_heard[line] <= state->line_datagrams[line]);
        REQUIRE(state->line_highest[line] == 0 || state->line_heard[line] > 0);
        seen += state->line_datagrams[line];
    }
    REQUIRE(seen == state->datagrams && state->foreign_row <= state->foreign_session);
    if (state->foreign_row > 0) {
        REQUIRE(memcmp(state->foreign, state->session, 10) != 0 && state->session_known);
        REQUIRE(state->foreign_number > 0 && state->foreign_number <= state->foreign_highest);
    } else {
        REQUIRE(state->foreign_number == 0 && state->foreign_highest == 0);
    }
    REQUIRE(run->state->end_number == 0 || run->state->highest <= run->state->end_number ||
            run->state->next_number > run->state->end_number);
}

/* Sends datagrams of `size` bytes, the last of which may be shorter, and receives them as the kernel gives
 * them. */
static void send_coalesced(struct run *run, const uint8_t *data, uint32_t length, int size, uint32_t line)
{
    struct pollfd waiting = {.fd = run->in, .events = POLLIN};
    REQUIRE(setsockopt(run->out, IPPROTO_UDP, UDP_SEGMENT_OPTION, &size, sizeof size) == 0);
    REQUIRE(send(run->out, data, length, 0) == (ssize_t)length);
    int32_t expected = size == 0 || length == 0 ? 1 : (int32_t)(length + (uint32_t)size - 1) / size;
    REQUIRE(poll(&waiting, 1, WAIT_MS) == 1);
    int32_t count;
    while ((count = sc_window_receive_coalesced(run->window, run->in, line)) == 0)
        take(run, ROWS);
    REQUIRE(count == expected && run->state->surplus == 0);
}

static void put(struct run *run, const uint8_t *data, uint32_t length, uint32_t line)
{
    if (run->in >= 0) {
        send_coalesced(run, data, length, 0, line);
        return;
    }
    while (sc_window_put(run->window, data, length, line) == SC_WINDOW_FULL)
        take(run, ROWS);
}

static void put_true(struct run *run, uint64_t first, uint32_t count, uint32_t line)
{
    uint8_t base[COUNT_MAX * 5], packet[BLOCK_BYTES];
    sc_message rows[COUNT_MAX];
    uint32_t used = 0, packed, made = 0;
    for (; made < count && first + made <= LAST; made++) {
        rows[made] = (sc_message){0, used, message_length(first + made)};
        memset(base + used, (int)(uint8_t)(first + made), rows[made].length);
        used += rows[made].length;
    }
    int32_t length =
        sc_mold_pack(run->protocol, SESSION, first, base, rows, made, packet, BLOCK_BYTES, &packed);
    REQUIRE(length >= 0);
    if (length > 0)
        put(run, packet, (uint32_t)length, line);
}

/* Packets of five messages each have one size: 15 bytes, and their framing. */
static void put_true_coalesced(struct run *run, uint64_t first, uint32_t packets, uint32_t line)
{
    uint8_t base[25], out[64 * BLOCK_BYTES];
    sc_message rows[5];
    uint32_t used = 0, size = 0;
    for (uint32_t i = 0; i < packets && first <= LAST; i++) {
        uint32_t bytes = 0, made = 0, packed;
        for (; made < 5 && first <= LAST; made++, first++) {
            rows[made] = (sc_message){0, bytes, message_length(first)};
            memset(base + bytes, (int)(uint8_t)first, rows[made].length);
            bytes += rows[made].length;
        }
        int32_t length = sc_mold_pack(run->protocol, SESSION, first - made, base, rows, made, out + used,
                                      BLOCK_BYTES, &packed);
        REQUIRE(length > 0 && (size == 0 || (uint32_t)length <= size));
        size = size == 0 ? (uint32_t)length : size;
        used += (uint32_t)length;
    }
    if (used > 0)
        send_coalesced(run, out, used, (int)size, line);
}

static void put_end(struct run *run, uint64_t number, int ends)
{
    static const uint8_t marker[] = {1, 0, 0, 0};
    uint8_t packet[20] = {0};
    memcpy(packet, SESSION, 10);
    if (run->protocol == SC_MOLDUDP64) {
        sc_put_be64(packet + 10, number);
        sc_put_be16(packet + 18, ends ? SC_MOLDUDP64_END_OF_SESSION : 0);
        put(run, packet, 20, 0);
    } else {
        sc_put_le32(packet + 10, (uint32_t)number);
        if (ends)
            memcpy(packet + 14, marker, sizeof marker);
        put(run, packet, ends ? 18 : 16, 0);
    }
}

static void finish(struct run *run)
{
    take(run, ROWS);
    uint64_t next = run->state->next_number;
    for (uint64_t number = next > 0 ? next : 1; number <= LAST; number += 3) {
        put_true(run, number, 3, 0);
        take(run, ROWS);
    }
    for (int i = 0; i < 20; i++)
        take(run, ROWS);
    put_end(run, LAST + 1, 1);
    take(run, ROWS);
    REQUIRE(run->state->next_number == LAST + 1 && run->state->held == 0 && run->state->ended);
    REQUIRE(run->state->malformed == 0 && run->state->impossible == 0 && run->state->early_ends == 0);
    REQUIRE(run->state->after_end == 0);
}

static void step(struct run *run, const uint8_t *data, size_t length, size_t *position)
{
    uint8_t a = data[*position + 1], b = data[*position + 2];
    uint8_t packet[256];
    uint32_t size;
    switch (data[*position] % 8) {
    case 0:
    case 1:
    case 2:
        if (run->in >= 0 && b % 2)
            put_true_coalesced(run, a % LAST + 1, b % SEGMENTS_MAX + 1, b / 64);
        else
            put_true(run, a % LAST + 1, b % COUNT_MAX, b / 64);
        break;
    case 3:
        take(run, a % (ROWS + 1));
        break;
    case 4:
        put_end(run, run->liars ? a + 1 : a % (LAST + 1) + 1, 0);
        break;
    case 5:
        if (b % 8 == 0) {
            take(run, ROWS);
            sc_window_advance(run->window, a % (LAST + 1) + 1);
            run->expected = run->state->next_number;
        }
        break;
    case 6:
        put_end(run, run->liars ? a + 1 : LAST + 1, 1);
        break;
    default:
        if (!run->liars)
            break;
        size = b % 128;
        *position += 3;
        if (size > length - *position)
            size = (uint32_t)(length - *position);
        memcpy(packet, a % 8 == 1 ? STRANGER : SESSION, 10);
        memcpy(packet + (a % 4 == 0 ? 0 : 10), data + *position, size);
        *position += size;
        size += a % 4 == 0 ? 0 : 10;
        if (run->in >= 0 && size > 0)
            send_coalesced(run, packet, size,
                           (int)(size < SEGMENTS_MAX ? size : 3 + b % 64 + size / SEGMENTS_MAX), a / 64);
        else
            put(run, packet, size, a / 64);
        return;
    }
    *position += 3;
}

/* Made once; `in` is -1 where the kernel coalesces nothing. */
static struct {
    int in, out;
} coalescing = {-2, -1};

static void open_sockets(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int on = 1;
    coalescing.in = socket(AF_INET, SOCK_DGRAM, 0);
    coalescing.out = socket(AF_INET, SOCK_DGRAM, 0);
    if (coalescing.in < 0 || coalescing.out < 0 ||
        bind(coalescing.in, (struct sockaddr *)&address, sizeof address) != 0 ||
        getsockname(coalescing.in, (struct sockaddr *)&address, &size) != 0 ||
        connect(coalescing.out, (struct sockaddr *)&address, size) != 0 ||
        setsockopt(coalescing.in, IPPROTO_UDP, UDP_GRO_OPTION, &on, sizeof on) != 0)
        coalescing.in = -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    if (length < 1)
        return 0;
    if (coalescing.in == -2)
        open_sockets();
    static struct run run; /* not on the stack, so that a row outside the slab is seen */
    run = (struct run){.protocol = data[0] & 1 ? SC_MOLDUDP : SC_MOLDUDP64, .liars = data[0] & 2};
    uint64_t start = data[0] & 4 ? 0 : 1;
    run.expected = start;
    int coalesced = (data[0] & 48) == 48 && coalescing.in >= 0;
    uint32_t blocks = coalesced ? POOL : BLOCKS, batch = coalesced ? 2 * SC_WINDOW_SEGMENTS : BATCH;
    run.in = coalesced ? coalescing.in : -1;
    run.out = coalescing.out;
    run.held_max = blocks - batch;
    run.window = sc_window_new(run.protocol, run.slab, blocks, BLOCK_BYTES, batch, start,
                               data[0] & 8 ? SESSION : NULL, 1ull << 40, NULL);
    REQUIRE(run.window != NULL);
    run.state = sc_window_state_of(run.window);
    size_t position = 1;
    while (length - position >= 3)
        step(&run, data, length, &position);
    if (!run.liars)
        finish(&run);
    sc_window_free(run.window);
    return 0;
}
