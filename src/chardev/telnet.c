/* telnet.c - the few telnet escapes a serial console needs (RFC 854, 856, 857, 858).
 *
 * We offer to echo, to suppress go-ahead and to be binary, accept whatever the client answers, and
 * take everything else out of the stream.  IAC BREAK becomes a serial break. */
#include "internal.h"

enum { IAC = 255, DONT = 254, DO = 253, WONT = 252, WILL = 251, SB = 250, BRK = 243, SE = 240 };

const uint8_t telnet_greeting[15] = {
    IAC, WILL, 1,             /* echo */
    IAC, WILL, 3,             /* suppress go-ahead */
    IAC, WILL, 0, IAC, DO, 0, /* binary both ways */
    IAC, DO,   3,             /* and so should you */
};

size_t telnet_decode(struct telnet *t, uint8_t *buf, size_t len, bool *got_break)
{
    size_t out = 0;
    for (size_t i = 0; i < len; i++) {
        uint8_t b = buf[i];
        switch (t->state) {
        case TELNET_DATA:
            if (b == IAC) {
                t->state = TELNET_IAC;
            } else {
                buf[out++] = b;
            }
            break;
        case TELNET_IAC:
            t->state = TELNET_DATA;
            if (b == IAC) {
                buf[out++] = IAC;
            } else if (b >= WILL && b <= DONT) {
                t->state = TELNET_OPTION;
            } else if (b == SB) {
                t->state = TELNET_SUB;
            } else if (b == BRK) {
                *got_break = true;
            }
            break;
        case TELNET_OPTION:
            t->state = TELNET_DATA;
            break;
        case TELNET_SUB:
            if (b == IAC) {
                t->state = TELNET_SUB_IAC;
            }
            break;
        case TELNET_SUB_IAC:
            t->state = b == SE ? TELNET_DATA : TELNET_SUB;
            break;
        }
    }
    return out;
}

void telnet_encode(GByteArray *q, const uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        g_byte_array_append(q, &buf[i], 1);
        if (buf[i] == IAC) {
            g_byte_array_append(q, &buf[i], 1);
        }
    }
}
