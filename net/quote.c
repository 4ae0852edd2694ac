/*
 * net/quote.c: text in double quotes as Go's %q writes it: what cannot be printed is escaped.
 *
 * Runs on: any thread.
 */
#include "net/dispatch.h"

/* The bytes of the UTF-8 sequence at the front, its code point in *rune_out; 0 when it is none. */
static size_t utf8_bytes(struct bytes bytes, uint32_t *rune_out)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char lead = (unsigned char)bytes.data[0];
    size_t count = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 0;
    if (count == 0 || count > bytes.count || lead >= 0xf8)
        return 0;
    uint32_t rune = count == 1 ? lead : lead & (0xffu >> (count + 1));
    for (size_t i = 1; i < count; i++) {
        unsigned char byte = (unsigned char)bytes.data[i];
        if ((byte & 0xc0) != 0x80)
            return 0;
        rune = rune << 6 | (byte & 0x3f);
    }
    if (rune < least[count] || rune > 0x10ffff || (rune >= 0xd800 && rune < 0xe000))
        return 0;
    *rune_out = rune;
    return count;
}

static void append_control(struct text *text, unsigned char byte)
{
    static const char letters[] = "abtnvfr"; /* from 7 on */
    if (byte >= 7 && byte <= 13) {
        const char escape[] = {'\\', letters[byte - 7]};
        text_append(text, bytes_of(escape, sizeof(escape)));
    } else {
        text_append_format(text, "\\x%02x", byte);
    }
}

void quote_append(struct text *text, struct bytes bytes)
{
    text_append_literal(text, "\"");
    while (bytes.count > 0) {
        uint32_t rune = 0;
        size_t count = utf8_bytes(bytes, &rune);
        if (count == 0) {
            text_append_format(text, "\\x%02x", (unsigned char)bytes.data[0]);
            count = 1;
        } else if (rune < ' ' || rune == 0x7f) {
            append_control(text, (unsigned char)rune);
        } else if (rune >= 0x80 && rune < 0xa0) {
            text_append_format(text, "\\u%04x", rune);
        } else {
            if (rune == '"' || rune == '\\')
                text_append_literal(text, "\\");
            text_append(text, bytes_of(bytes.data, count));
        }
        bytes = bytes_after(bytes, count);
    }
    text_append_literal(text, "\"");
}
