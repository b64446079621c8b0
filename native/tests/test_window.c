#include "window.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

enum { BLOCKS = 12, BLOCK_BYTES = 128, BATCH = 4, HELD_MAX = BLOCKS - BATCH, ROWS = 64 };

static const uint8_t SESSION[10] = "SESS000001";
static uint8_t slab[BLOCKS * BLOCK_BYTES];
static sc_message rows[ROWS];

/* The length of a packet of messages number..number+count-1; message n is the two bytes of n, big-endian. */
static uint32_t make(int32_t protocol, uint64_t number, uint32_t count, uint8_t *out)
{
    uint8_t base[128];
    sc_message table[32];
    uint32_t packed;
    for (uint32_t i = 0; i < count; i++) {
        sc_put_be16(base + i * 2, (uint16_t)(number + i));
        table[i] = (sc_message){0, i * 2, 2};
    }
    int32_t length = sc_mold_pack(protocol, SESSION, number, base, table, count, out, BLOCK_BYTES, &packed);
    CHECK(packed == count);
    return (uint32_t)length;
}

static void put(sc_window *w, int32_t protocol, uint64_t number, uint32_t count, uint32_t line)
{
    uint8_t packet[BLOCK_BYTES];
    uint32_t length = make(protocol, number, count, packet);
    CHECK(sc_window_put(w, packet, length, line) == 0);
}

static void put64(sc_window *w, uint64_t number, uint32_t count)
{
    put(w, SC_MOLDUDP64, number, count, 0);
}

/* A header alone: heartbeats, ends of session, lies. */
static void put_header64(sc_window *w, const uint8_t *session, uint64_t number, uint16_t count)
{
    uint8_t packet[SC_MOLDUDP64_HEADER_BYTES];
    memcpy(packet, session, 10);
    sc_put_be64(packet + 10, number);
    sc_put_be16(packet + 18, count);
    CHECK(sc_window_put(w, packet, sizeof packet, 0) == 0);
}

/* Takes all messages, which must be first..last with their right bytes. */
static void expect(sc_window *w, uint64_t first, uint64_t last)
{
    uint32_t count;
    do {
        count = sc_window_messages(w, rows, ROWS);
        for (uint32_t i = 0; i < count; i++) {
            CHECK(rows[i].number == first && rows[i].length == 2);
            CHECK(sc_get_be16(slab + rows[i].offset) == (uint16_t)first);
            first++;
        }
    } while (count > 0);
    CHECK(first == last + 1);
    CHECK(sc_window_state_of(w)->next_number == first);
}

static void expect_gaps(const sc_window *w, uint32_t count, const sc_gap *wanted)
{
    sc_gap gaps[16];
    CHECK(sc_window_gaps(w, gaps, 16) == count);
    for (uint32_t i = 0; i < count; i++)
        CHECK(gaps[i].first == wanted[i].first && gaps[i].count == wanted[i].count);
}

static sc_window *new_window(int32_t protocol, uint64_t start, sc_message_check check)
{
    sc_window *w = sc_window_new(protocol, slab, BLOCKS, BLOCK_BYTES, BATCH, start, NULL, 1ull << 40, check);
    CHECK(w != NULL);
    return w;
}

static void test_new_refuses(void)
{
    CHECK(sc_window_new(2, slab, 12, 128, 4, 1, NULL, 1, NULL) == NULL);
    CHECK(sc_window_new(SC_MOLDUDP64, NULL, 12, 128, 4, 1, NULL, 1, NULL) == NULL);
    CHECK(sc_window_new(SC_MOLDUDP64, slab, 4, 128, 4, 1, NULL, 1, NULL) == NULL);
    CHECK(sc_window_new(SC_MOLDUDP64, slab, 12, 128, 0, 1, NULL, 1, NULL) == NULL);
    CHECK(sc_window_new(SC_MOLDUDP64, slab, 12, 19, 4, 1, NULL, 1, NULL) == NULL);
    CHECK(sc_window_new(SC_MOLDUDP64, slab, 1u << 30, 65535, 4, 1, NULL, 1, NULL) == NULL);
    CHECK(sc_window_new(SC_MOLDUDP, slab, 12, 128, 4, 1ull << 33, NULL, 1, NULL) == NULL);
    sc_window_free(NULL);
}

static void test_order_is_restored(void)
{
    sc_window *w = new_window(SC_MOLDUDP64, 1, NULL);
    const sc_window_state *state = sc_window_state_of(w);
    put64(w, 1, 2);
    put64(w, 6, 2);
    put64(w, 9, 1);
    expect(w, 1, 2);
    expect_gaps(w, 2, (sc_gap[]){{3, 3}, {8, 1}});
    CHECK(state->held == 2 && state->highest == 10);
    put64(w, 8, 1);
    expect(w, 3, 2);
    expect_gaps(w, 1, (sc_gap[]){{3, 3}});
    put64(w, 2, 4); /* overlaps on both sides: 2 was delivered */
    expect(w, 3, 9);
    expect_gaps(w, 0, NULL);
    CHECK(state->held == 0 && state->duplicates == 1 && state->messages == 9);
    put64(w, 1, 9);
    expect(w, 10, 9);
    CHECK(state->duplicates == 10);
    sc_window_free(w);
}

static void test_held_blocks_do_not_cover_each_other(void)
{
    sc_window *w = new_window(SC_MOLDUDP64, 1, NULL);
    const sc_window_state *state = sc_window_state_of(w);
    put64(w, 5, 2);
    put64(w, 5, 2); /* the same */
    put64(w, 6, 1); /* inside */
    expect(w, 1, 0);
    CHECK(state->held == 1 && state->duplicates == 3);
    put64(w, 5, 4); /* starts with it and is longer */
    expect(w, 1, 0);
    CHECK(state->held == 1 && state->duplicates == 5);
    put64(w, 11, 3);
    put64(w, 14, 2);
    put64(w, 10, 8); /* covers two */
    expect(w, 1, 0);
    CHECK(state->held == 2 && state->duplicates == 10);
    put64(w, 8, 4); /* joins both: 8..11 */
    put64(w, 9, 2); /* covered by two together */
    expect(w, 1, 0);
    CHECK(state->held == 3 && state->duplicates == 12);
    expect_gaps(w, 1, (sc_gap[]){{1, 4}});
    put64(w, 1, 4);
    expect(w, 1, 17);
    CHECK(state->duplicates == 12 + 1 + 2);
    sc_window_free(w);
}

static void test_small_table(void)
{
    sc_window *w = new_window(SC_MOLDUDP64, 1, NULL);
    put64(w, 1, 5);
    put64(w, 6, 2);
    put64(w, 8, 1);
    CHECK(sc_window_messages(w, rows, 0) == 0);
    CHECK(sc_window_messages(w, rows, 3) == 3 && rows[2].number == 3);
    put64(w, 9, 1); /* the block in delivery stays untouched */
    CHECK(sc_window_messages(w, rows, 1) == 1 && rows[0].number == 4);
    expect_gaps(w, 0, NULL);
    CHECK(sc_window_messages(w, rows, 3) == 3 && rows[0].number == 5 && rows[2].number == 7);
    CHECK(sc_get_be16(slab + rows[0].offset) == 5 && sc_get_be16(slab + rows[2].offset) == 7);
    expect(w, 8, 9);
    sc_window_free(w);
}

static void test_advance(void)
{
    sc_window *w = new_window(SC_MOLDUDP64, 1, NULL);
    const sc_window_state *state = sc_window_state_of(w);
    put64(w, 4, 2);
    put64(w, 8, 4);
    expect(w, 1, 0);
    sc_window_advance(w, 9);
    CHECK(state->next_number == 9 && state->held == 1 && state->duplicates == 2);
    expect_gaps(w, 0, NULL);
    expect(w, 9, 11);
    CHECK(state->duplicates == 3);
    sc_window_advance(w, 5);
    CHECK(state->next_number == 12);
    sc_window_advance(w, 20);
    CHECK(state->next_number == 20 && state->highest == 20);
    /* over a block in delivery */
    put64(w, 20, 6);
    CHECK(sc_window_messages(w, rows, 2) == 2);
    sc_window_advance(w, 24);
    expect(w, 24, 25);
    put64(w, 26, 4);
    CHECK(sc_window_messages(w, rows, 2) == 2);
    sc_window_advance(w, 40);
    expect(w, 40, 39);
    sc_window_free(w);
}

static void test_eviction(void)
{
    sc_window *w = new_window(SC_MOLDUDP64, 1, NULL);
    const sc_window_state *state = sc_window_state_of(w);
    for (uint64_t i = 0; i < HELD_MAX; i++)
        put64(w, 10 + 2 * i, 1);
    expect(w, 1, 0);
    CHECK(state->held == HELD_MAX && state->evicted == 0);
    put64(w, 100, 1); /* newer: the lowest goes */
    expect(w, 1, 0);
    CHECK(state->held == HELD_MAX && state->evicted == 1);
    put64(w, 5, 1); /* the lowest itself: it is not kept */
    expect(w, 1, 0);
    CHECK(state->held == HELD_MAX && state->evicted == 2);
    expect_gaps(w, 8, (sc_gap[]){{1, 11}, {13, 1}, {15, 1}, {17, 1}, {19, 1}, {21, 1}, {23, 1}, {25, 75}});
    put64(w, 1, 11); /* a full pool does not stand in the way of delivery */
    expect(w, 1, 12);
    sc_window_free(w);
}

static void test_put_when_full(void)
{
    sc_window *w = new_window(SC_MOLDUDP64, 1, NULL);
    uint8_t packet[BLOCK_BYTES];
    for (uint64_t i = 0; i < BLOCKS; i++)
        put64(w, 1 + i, 1);
    uint32_t length = make(SC_MOLDUDP64, BLOCKS + 1, 1, packet);
    CHECK(sc_window_put(w, packet, length, 0) == SC_WINDOW_FULL);
    expect(w, 1, BLOCKS);
    CHECK(sc_window_put(w, packet, length, 0) == 0);
    CHECK(sc_window_put(w, packet, length, SC_WINDOW_LINES) == SC_WINDOW_LINE);
    CHECK(sc_window_receive(w, -1, SC_WINDOW_LINES) == SC_WINDOW_LINE);
    expect(w, BLOCKS + 1, BLOCKS + 1);
    sc_window_free(w);
}

static void test_bad_input_is_counted(void)
{
    sc_window *w = new_window(SC_MOLDUDP64, 1, NULL);
    const sc_window_state *state = sc_window_state_of(w);
    uint8_t packet[BLOCK_BYTES + 1] = {0};
    uint32_t length = make(SC_MOLDUDP64, 1, 2, packet);
    for (uint32_t cut = 0; cut < length; cut++)
        CHECK(sc_window_put(w, packet, cut, 0) == 0 && sc_window_messages(w, rows, ROWS) == 0);
    CHECK(state->malformed == length && state->session_known == 0 && state->highest == 1);
    CHECK(sc_window_put(w, packet, BLOCK_BYTES + 1, 0) == 0);
    CHECK(state->overlong == 1);
    put_header64(w, SESSION, 0, 0);
    put_header64(w, SESSION, 0, 0xffff);
    put_header64(w, SESSION, 0, 3);
    put_header64(w, SESSION, UINT64_MAX, 2);
    put_header64(w, SESSION, (1ull << 40) + 2, 0);
    expect(w, 1, 0);
    CHECK(state->impossible == 5 && state->session_known == 0 && state->highest == 1);
    put_header64(w, SESSION, (1ull << 40) + 1, 0);
    expect(w, 1, 0);
    CHECK(state->heartbeats == 1 && state->session_known == 1 && state->highest == (1ull << 40) + 1);
    put_header64(w, (const uint8_t *)"SESS000002", 1, 0);
    expect(w, 1, 0);
    CHECK(state->foreign_session == 1);
    put64(w, 1, 2);
    expect(w, 1, 2);
    put_header64(w, SESSION, 1, 2); /* claims two old messages and holds none: no duplicate */
    expect(w, 3, 2);
    CHECK(state->malformed == length + 1 && state->duplicates == 0);
    CHECK(state->datagrams == length + 10 && state->line_datagrams[0] == length + 10);
    sc_window_free(w);
}

static void test_configured_session(void)
{
    sc_window *w = sc_window_new(SC_MOLDUDP64, slab, BLOCKS, BLOCK_BYTES, BATCH, 5,
                                 (const uint8_t *)"SESS000009", 100, NULL);
    CHECK(w != NULL);
    put64(w, 5, 1);
    expect(w, 5, 4);
    CHECK(sc_window_state_of(w)->foreign_session == 1);
    put_header64(w, (const uint8_t *)"SESS000009", 7, 0);
    expect(w, 5, 4);
    expect_gaps(w, 1, (sc_gap[]){{5, 2}});
    sc_window_free(w);
}

static void test_first_seen(void)
{
    sc_window *w = new_window(SC_MOLDUDP64, 0, NULL);
    expect_gaps(w, 0, NULL);
    put64(w, 1000, 2);
    put64(w, 998, 2);
    expect(w, 1000, 1001);
    CHECK(sc_window_state_of(w)->duplicates == 2);
    sc_window_free(w);
    w = new_window(SC_MOLDUDP64, 0, NULL);
    put_header64(w, SESSION, 7, 0);
    expect(w, 7, 6);
    expect_gaps(w, 0, NULL);
    sc_window_free(w);
}

static void test_end_of_session(void)
{
    sc_window *w = new_window(SC_MOLDUDP64, 1, NULL);
    const sc_window_state *state = sc_window_state_of(w);
    put64(w, 1, 2);
    put64(w, 4, 1);
    put_header64(w, SESSION, 4, 0xffff); /* below what was heard */
    expect(w, 1, 2);
    CHECK(state->early_ends == 1 && state->end_number == 0);
    put_header64(w, SESSION, 7, 0xffff);
    put_header64(w, SESSION, 7, 0xffff);
    expect(w, 3, 2);
    CHECK(state->ends == 2 && state->end_number == 7 && !state->ended);
    expect_gaps(w, 2, (sc_gap[]){{3, 1}, {5, 2}});
    put_header64(w, SESSION, 8, 0xffff);
    put_header64(w, SESSION, 9, 0);
    put64(w, 7, 2);
    put64(w, 6, 3); /* 6 is good, 7 and 8 cannot be */
    put_header64(w, SESSION, 5, 0xffff);
    expect(w, 3, 2);
    CHECK(state->after_end == 6 && state->early_ends == 2 && state->highest == 7);
    put64(w, 3, 3);
    expect(w, 3, 6);
    CHECK(state->ended);
    sc_window_free(w);
}

static void test_moldudp(void)
{
    static const uint8_t marker4[] = "SESS000001\4\0\0\0\1\0\0\0", heartbeat5[] = "SESS000001\5\0\0\0\0\0";
    static const uint8_t last[] = "SESS000001\3\0\0\0\2\0\2\0\0\3\0\0";
    sc_window *w = new_window(SC_MOLDUDP, 1, NULL);
    const sc_window_state *state = sc_window_state_of(w);
    put(w, SC_MOLDUDP, 1, 2, 0);
    expect(w, 1, 2);
    /* a peer that counts the marker beats with the number after it */
    CHECK(sc_window_put(w, heartbeat5, sizeof heartbeat5 - 1, 0) == 0);
    expect(w, 3, 2);
    expect_gaps(w, 1, (sc_gap[]){{3, 2}});
    CHECK(sc_window_put(w, marker4, sizeof marker4 - 1, 0) == 0);
    expect(w, 3, 2);
    CHECK(state->end_number == 4 && state->highest == 4 && !state->ended && state->early_ends == 0);
    expect_gaps(w, 1, (sc_gap[]){{3, 1}});
    CHECK(sc_window_put(w, last, sizeof last - 1, 0) == 0);
    expect(w, 3, 3);
    CHECK(state->ended && state->ends == 2);
    CHECK(sc_window_put(w, heartbeat5, sizeof heartbeat5 - 1, 0) == 0);
    expect(w, 4, 3);
    CHECK(state->after_end == 0 && state->highest == 4);
    sc_window_free(w);

    w = new_window(SC_MOLDUDP, UINT32_MAX, NULL);
    uint8_t packet[BLOCK_BYTES];
    uint32_t length = make(SC_MOLDUDP, UINT16_MAX, 1, packet); /* the two bytes of UINT32_MAX, too */
    sc_put_le32(packet + 10, UINT32_MAX);
    sc_put_le16(packet + 14, 2); /* one more than can be numbered */
    CHECK(sc_window_put(w, packet, length + 2, 0) == 0);
    expect(w, UINT32_MAX, UINT32_MAX - 1u);
    CHECK(sc_window_state_of(w)->impossible == 1);
    sc_put_le16(packet + 14, 1);
    CHECK(sc_window_put(w, packet, length, 0) == 0);
    expect(w, UINT32_MAX, UINT32_MAX);
    sc_window_free(w);
}

static int refuse_3(const uint8_t *message, uint32_t length, uint64_t number)
{
    CHECK(length == 2);
    return number == 3 && message[0] != 0;
}

static void test_check(void)
{
    sc_window *w = new_window(SC_MOLDUDP64, 1, refuse_3);
    uint8_t packet[BLOCK_BYTES];
    uint32_t length = make(SC_MOLDUDP64, 1, 5, packet);
    packet[20 + 2 * 4 + 2] = 0xee; /* the first byte of message 3 */
    CHECK(sc_window_put(w, packet, length, 0) == 0);
    CHECK(sc_window_messages(w, rows, ROWS) == 2);
    CHECK(sc_window_state_of(w)->corrupt == 1 && sc_window_state_of(w)->next_number == 3);
    expect_gaps(w, 1, (sc_gap[]){{3, 3}});
    put(w, SC_MOLDUDP64, 2, 4, 1);
    expect(w, 3, 5);
    sc_window_free(w);
}

static void test_lines(void)
{
    sc_window *w = new_window(SC_MOLDUDP64, 1, NULL);
    const sc_window_state *state = sc_window_state_of(w);
    put(w, SC_MOLDUDP64, 1, 3, 0);
    put(w, SC_MOLDUDP64, 1, 2, 1);
    put(w, SC_MOLDUDP64, 1, 1, 3);
    expect(w, 1, 3);
    CHECK(state->line_highest[0] == 4 && state->line_highest[1] == 3 && state->line_highest[2] == 0);
    CHECK(state->line_highest[3] == 2 && state->line_datagrams[3] == 1 && state->datagrams == 3);
    sc_window_free(w);
}

static void test_lines_count_what_is_good(void)
{
    sc_window *w = new_window(SC_MOLDUDP64, 1, NULL);
    const sc_window_state *state = sc_window_state_of(w);
    put(w, SC_MOLDUDP64, 1, 3, 0);
    put(w, SC_MOLDUDP64, 1, 3, 1); /* a duplicate shows that the line is well */
    put_header64(w, SESSION, 4, 0);
    put_header64(w, SESSION, 0, 0);                       /* impossible */
    put_header64(w, SESSION, 4, 7);                       /* holds nothing of what it claims */
    put_header64(w, (const uint8_t *)"SESS000002", 4, 0); /* foreign */
    expect(w, 1, 3);
    CHECK(state->line_heard[0] == 2 && state->line_heard[1] == 1 && state->line_heard[2] == 0);
    CHECK(state->line_datagrams[0] == 5);
    sc_window_free(w);
}

static void test_foreign_session(void)
{
    static const uint8_t other[10] = "SESS000002", third[10] = "SESS000003";
    sc_window *w = new_window(SC_MOLDUDP64, 1, NULL);
    const sc_window_state *state = sc_window_state_of(w);
    put64(w, 1, 1);
    expect(w, 1, 1);
    CHECK(state->foreign_row == 0);
    put_header64(w, other, 7, 0);
    put_header64(w, other, 5, 0);
    put64(w, 2, 1); /* our own does not break the row */
    put_header64(w, other, 9, 0);
    expect(w, 2, 2);
    CHECK(state->foreign_row == 3 && memcmp(state->foreign, other, 10) == 0);
    CHECK(state->foreign_number == 9 && state->foreign_highest == 9 && state->highest == 3);
    put_header64(w, other, 0, 0);          /* what cannot be numbered tells nothing */
    put_header64(w, other, UINT64_MAX, 9); /* nor what cannot be counted */
    put_header64(w, other, 10, 2);         /* nor what holds less than it claims */
    expect(w, 3, 2);
    CHECK(state->foreign_session == 6 && state->foreign_row == 3 && state->foreign_highest == 9);
    put_header64(w, third, 1, 0xffff); /* the end of a third */
    expect(w, 3, 2);
    CHECK(state->foreign_row == 3 && memcmp(state->foreign, other, 10) == 0);
    put_header64(w, third, 1, 0);
    expect(w, 3, 2);
    CHECK(state->foreign_row == 1 && memcmp(state->foreign, third, 10) == 0 && state->foreign_highest == 1);
    put_header64(w, third, 1, 0xffff); /* it is over */
    expect(w, 3, 2);
    CHECK(state->foreign_row == 0 && state->foreign_highest == 0 && state->foreign_session == 9);
    CHECK(!state->ended && state->end_number == 0);
    sc_window_free(w);

    uint8_t packet[BLOCK_BYTES];
    w = sc_window_new(SC_MOLDUDP, slab, BLOCKS, BLOCK_BYTES, BATCH, 1, third, 100, NULL);
    CHECK(w != NULL);
    uint32_t length = make(SC_MOLDUDP, 40, 3, packet);
    CHECK(sc_window_put(w, packet, length, 0) == 0);
    expect(w, 1, 0);
    state = sc_window_state_of(w);
    CHECK(state->foreign_row == 1 && state->foreign_number == 40 && state->foreign_highest == 43);
    sc_window_free(w);
}

static void test_receive(void)
{
    int in = socket(AF_INET, SOCK_DGRAM, 0), out = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    CHECK(in >= 0 && out >= 0 && bind(in, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(getsockname(in, (struct sockaddr *)&address, &size) == 0);
    CHECK(connect(out, (struct sockaddr *)&address, size) == 0);
    sc_window *w = new_window(SC_MOLDUDP64, 1, NULL);
    const sc_window_state *state = sc_window_state_of(w);
    CHECK(sc_window_receive(w, in, 0) == 0);
    CHECK(sc_window_receive(w, -1, 0) < 0 && sc_window_receive(w, -1, 0) > SC_WINDOW_FULL);
    /* overlong datagrams between good ones, many times: no block is lost and the order of arrival stays */
    uint64_t number = 1;
    uint8_t packet[BLOCK_BYTES + 40] = {0};
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < BATCH; i++) {
            if ((round >> i) & 1) {
                CHECK(send(out, packet, sizeof packet, 0) == sizeof packet);
            } else {
                uint32_t length = make(SC_MOLDUDP64, number++, 1, packet);
                CHECK(send(out, packet, length, 0) == (ssize_t)length);
            }
        }
        CHECK(sc_window_receive(w, in, 2) == BATCH);
        expect(w, number - (uint64_t)(4 - __builtin_popcount((unsigned)round & 15)), number - 1);
    }
    CHECK(state->overlong + number - 1 == 50 * BATCH && state->line_datagrams[2] == 50 * BATCH);
    CHECK(state->duplicates == 0);

    /* a pool full of pending datagrams leaves the rest in the socket */
    for (int i = 0; i < BLOCKS + 2; i++) {
        uint32_t length = make(SC_MOLDUDP64, number + (uint64_t)i, 1, packet);
        CHECK(send(out, packet, length, 0) == (ssize_t)length);
    }
    for (int i = 0; i < BLOCKS / BATCH; i++)
        CHECK(sc_window_receive(w, in, 0) == BATCH);
    CHECK(sc_window_receive(w, in, 0) == 0);
    expect(w, number, number + BLOCKS - 1);
    CHECK(sc_window_receive(w, in, 0) == 2);
    expect(w, number + BLOCKS, number + BLOCKS + 1);

    /* an ICMP error parked on the socket is counted, and goes by */
    close(in);
    CHECK(send(out, "x", 1, 0) == 1);
    CHECK(sc_window_receive(w, out, 0) == 0);
    CHECK(state->refused == 1);
    close(out);
    sc_window_free(w);
}

enum { UDP_SEGMENT_OPTION = 103, UDP_GRO_OPTION = 104, MANY = 600, WAIT_MS = 10000 };

/* A connected pair of sockets; true when the receiving one takes coalesced datagrams. */
static int coalescing_pair(int *in, int *out)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int on = 1, room = 4 << 20;
    *in = socket(AF_INET, SOCK_DGRAM, 0);
    *out = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(*in >= 0 && *out >= 0);
    CHECK(bind(*in, (struct sockaddr *)&address, size) == 0);
    CHECK(getsockname(*in, (struct sockaddr *)&address, &size) == 0);
    CHECK(connect(*out, (struct sockaddr *)&address, size) == 0);
    setsockopt(*in, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    return setsockopt(*in, IPPROTO_UDP, UDP_GRO_OPTION, &on, sizeof on) == 0;
}

static void send_segments(int out, const uint8_t *data, size_t length, int size)
{
    CHECK(setsockopt(out, IPPROTO_UDP, UDP_SEGMENT_OPTION, &size, sizeof size) == 0);
    CHECK(send(out, data, length, 0) == (ssize_t)length);
}

static int32_t receive_coalesced(sc_window *w, int in)
{
    struct pollfd waiting = {.fd = in, .events = POLLIN};
    CHECK(poll(&waiting, 1, WAIT_MS) == 1);
    return sc_window_receive_coalesced(w, in, 1);
}

static void test_receive_coalesced(void)
{
    int in, out;
    if (!coalescing_pair(&in, &out)) {
        puts("this kernel coalesces nothing: not tested");
        close(in);
        close(out);
        return;
    }
    sc_window *small = new_window(SC_MOLDUDP64, 1, NULL);
    CHECK(sc_window_receive_coalesced(small, in, 0) == -EINVAL);
    sc_window_free(small);

    uint8_t *pool = malloc(MANY * BLOCK_BYTES), data[8192];
    CHECK(pool != NULL);
    sc_window *w = sc_window_new(SC_MOLDUDP64, pool, MANY, BLOCK_BYTES, 2 * SC_WINDOW_SEGMENTS, 1, NULL,
                                 1ull << 40, NULL);
    const sc_window_state *state = sc_window_state_of(w);
    CHECK(sc_window_receive_coalesced(w, in, SC_WINDOW_LINES) == SC_WINDOW_LINE);
    CHECK(sc_window_receive_coalesced(w, in, 0) == 0);
    CHECK(sc_window_receive_coalesced(w, -1, 0) == -EBADF);

    /* sizes below a block, as large as one, and so small that many lie in the first; the last one is shorter
     */
    uint64_t number = 1;
    static const uint32_t counts[] = {1, 3, 27};
    for (uint32_t kind = 0; kind < 3; kind++) {
        uint32_t count = counts[kind], length = 0, size = 0, packets = 40;
        uint64_t first = number;
        for (uint32_t i = 0; i < packets; i++) {
            uint32_t here = i + 1 < packets ? count : 1;
            size = i == 0 ? make(SC_MOLDUDP64, number, here, data) : size;
            length += i == 0 ? size : make(SC_MOLDUDP64, number, here, data + length);
            number += here;
        }
        send_segments(out, data, length, (int)size);
        CHECK(receive_coalesced(w, in) == (int32_t)packets);
        for (uint64_t next = first; next < number;) {
            uint32_t got = sc_window_messages(w, rows, ROWS);
            CHECK(got > 0);
            for (uint32_t i = 0; i < got; i++, next++)
                CHECK(rows[i].number == next && sc_get_be16(pool + rows[i].offset) == (uint16_t)next);
        }
    }
    CHECK(state->datagrams == 120 && state->line_datagrams[1] == 120 && state->line_heard[1] == 120);
    CHECK(state->malformed == 0 && state->overlong == 0 && state->duplicates == 0 && state->surplus == 0);

    /* larger than a block: each counts, and the short one behind them is taken */
    memset(data, 0, sizeof data);
    uint32_t last = make(SC_MOLDUDP64, number, 1, data + 3 * (BLOCK_BYTES + 1));
    send_segments(out, data, 3 * (BLOCK_BYTES + 1) + last, BLOCK_BYTES + 1);
    CHECK(receive_coalesced(w, in) == 4 && state->overlong == 3);
    CHECK(sc_window_messages(w, rows, ROWS) == 1 && rows[0].number == number);
    number++;
    /* and one that came alone */
    send_segments(out, data, BLOCK_BYTES + 1, 0);
    CHECK(receive_coalesced(w, in) == 1 && state->overlong == 4);

    /* nothing good in it: empty, and single bytes as many as can be */
    send_segments(out, data, 0, 0);
    CHECK(receive_coalesced(w, in) == 1);
    send_segments(out, data, 64, 1);
    CHECK(receive_coalesced(w, in) == 64);
    CHECK(sc_window_messages(w, rows, ROWS) == 0 && state->malformed == 65);

    /* never more than find free blocks: all blocks are free or pending */
    int32_t taken = 0, sent = 0;
    for (; sent < 2 * MANY; sent += 40) {
        for (uint32_t i = 0; i < 40; i++)
            make(SC_MOLDUDP64, number + (uint64_t)sent + i, 1, data + i * last);
        send_segments(out, data, 40 * last, (int)last);
    }
    for (int32_t got; (got = sc_window_receive_coalesced(w, in, 0)) > 0;)
        taken += got;
    CHECK(taken > MANY - SC_WINDOW_SEGMENTS - 40 && taken <= MANY);
    for (;;) {
        uint32_t got;
        while ((got = sc_window_messages(w, rows, ROWS)) > 0)
            number += got;
        int32_t more = sc_window_receive_coalesced(w, in, 0);
        if (more == 0)
            break;
        taken += more;
    }
    CHECK(taken == sent && state->next_number == number && state->duplicates == 0);

    /* and a full pool of held ones does not stand in the way */
    for (uint32_t i = 0; i < 10; i++) {
        for (uint32_t j = 0; j < 100; j++)
            make(SC_MOLDUDP64, number + 1 + i * 100 + j, 1, data + j * last);
        send_segments(out, data, 100 * last, (int)last);
        CHECK(receive_coalesced(w, in) == 100);
        CHECK(sc_window_messages(w, rows, ROWS) == 0);
    }
    CHECK(state->held == MANY - 2 * SC_WINDOW_SEGMENTS && state->evicted == 1000 - state->held);
    close(in);
    close(out);
    sc_window_free(w);
    free(pool);
}

int main(void)
{
    test_new_refuses();
    test_order_is_restored();
    test_held_blocks_do_not_cover_each_other();
    test_small_table();
    test_advance();
    test_eviction();
    test_put_when_full();
    test_bad_input_is_counted();
    test_configured_session();
    test_first_seen();
    test_end_of_session();
    test_moldudp();
    test_check();
    test_lines();
    test_lines_count_what_is_good();
    test_foreign_session();
    test_receive();
    test_receive_coalesced();
    return 0;
}
