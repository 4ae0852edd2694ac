/*
 * core/text.c: a growing text buffer, and the small formats that answers are made of.
 *
 * Keeps:   count <= capacity; data is NULL only while capacity is 0. The formats are Go's, byte for byte, because the
 *          clients' libraries parse them: encoding/json strings, time.RFC3339Nano, time.Duration.
 * Owns:    its data, by malloc: answers are built where no shard's heap is at hand, too. Out of memory stops the
 *          process, as with core/heap.
 * Runs on: any thread, one at a time a text.
 */
#include "core/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/assert.h"

enum { TEXT_CAPACITY_MIN = 256, TEXT_FORMAT_BYTES = 128 };

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull
#define NS_PER_MINUTE (60 * NS_PER_S)
#define NS_PER_HOUR (60 * NS_PER_MINUTE)
#define SECONDS_PER_DAY 86400ll

static size_t utf8_sequence(struct bytes bytes);
static bool is_plain_json(unsigned char byte);
static size_t append_json_special(struct text *text, struct bytes bytes);
static void append_json_escape(struct text *text, unsigned char byte);
static void append_fraction(struct text *text, uint64_t fraction, unsigned digits);
static int64_t days_from_date(int64_t year, unsigned month, unsigned day);
static void date_from_days(int64_t days, int64_t *year_out, unsigned *month_out, unsigned *day_out);

void text_free(struct text *text)
{
    free(text->data);
    *text = (struct text){0};
}

void text_clear(struct text *text)
{
    text->count = 0;
}

char *text_reserve(struct text *text, size_t bytes)
{
    if (text->data == NULL || bytes > text->capacity - text->count) {
        size_t needed = text->count + bytes;
        ASSERT(needed >= bytes);
        size_t capacity = text->capacity < TEXT_CAPACITY_MIN ? TEXT_CAPACITY_MIN : text->capacity;
        while (capacity < needed)
            capacity = capacity > SIZE_MAX / 2 ? needed : capacity * 2;
        text->data = realloc(text->data, capacity);
        ASSERT(text->data != NULL);
        text->capacity = capacity;
    }
    return text->data + text->count;
}

void text_append(struct text *text, struct bytes bytes)
{
    if (bytes.count == 0)
        return;
    memcpy(text_reserve(text, bytes.count), bytes.data, bytes.count);
    text->count += bytes.count;
}

void text_append_literal(struct text *text, const char *literal)
{
    text_append(text, bytes_of_text(literal));
}

void text_append_u64(struct text *text, uint64_t number)
{
    text->count += text_u64(text_reserve(text, 20), number);
}

void text_append_i64(struct text *text, int64_t number)
{
    if (number < 0)
        text_append_literal(text, "-");
    text_append_u64(text, number < 0 ? 0 - (uint64_t)number : (uint64_t)number);
}

void text_append_format(struct text *text, const char *format, ...)
{
    size_t room = TEXT_FORMAT_BYTES; /* mostly enough; else a second time with what is needed */
    for (;;) {
        char *out = text_reserve(text, room);
        va_list arguments;
        va_start(arguments, format);
        int count = vsnprintf(out, room, format, arguments);
        va_end(arguments);
        ASSERT(count >= 0);
        if ((size_t)count < room) { /* the NUL at its end is not counted */
            text->count += (size_t)count;
            return;
        }
        room = (size_t)count + 1;
    }
}

/* ---- JSON strings, base64 ---- */

void text_append_json_string(struct text *text, struct bytes bytes)
{
    text_append_literal(text, "\"");
    while (bytes.count > 0) {
        size_t count = 0;
        while (count < bytes.count && is_plain_json((unsigned char)bytes.data[count]))
            count++;
        text_append(text, bytes_of(bytes.data, count));
        if (count < bytes.count)
            count += append_json_special(text, bytes_after(bytes, count));
        bytes = bytes_after(bytes, count);
    }
    text_append_literal(text, "\"");
}

/* One character that is not plain; gives the number of its bytes. */
static size_t append_json_special(struct text *text, struct bytes bytes)
{
    unsigned char byte = (unsigned char)bytes.data[0];
    if (byte < 0x80) {
        append_json_escape(text, byte);
        return 1;
    }
    size_t count = utf8_sequence(bytes);
    struct bytes character = bytes_of(bytes.data, count);
    if (count == 0)
        text_append_literal(text, "\\ufffd");
    else if (bytes_equal(character, BYTES_LITERAL("\xe2\x80\xa8"))) /* line separator */
        text_append_literal(text, "\\u2028");
    else if (bytes_equal(character, BYTES_LITERAL("\xe2\x80\xa9"))) /* paragraph separator */
        text_append_literal(text, "\\u2029");
    else
        text_append(text, character);
    return count == 0 ? 1 : count;
}

static bool is_plain_json(unsigned char byte)
{
    return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\' && byte != '<' && byte != '>'
           && byte != '&';
}

static void append_json_escape(struct text *text, unsigned char byte)
{
    switch (byte) {
    case '"':
        text_append_literal(text, "\\\"");
        break;
    case '\\':
        text_append_literal(text, "\\\\");
        break;
    case '\b':
        text_append_literal(text, "\\b");
        break;
    case '\f':
        text_append_literal(text, "\\f");
        break;
    case '\n':
        text_append_literal(text, "\\n");
        break;
    case '\r':
        text_append_literal(text, "\\r");
        break;
    case '\t':
        text_append_literal(text, "\\t");
        break;
    default:
        text_append_format(text, "\\u%04x", (unsigned)byte);
    }
}

/*
 * Bytes of the UTF-8 sequence that begins here with a byte >= 0x80; 0 when it is cut short, longer than need be, a
 * surrogate, or beyond U+10FFFF. The range of the second byte decides all but the first (Unicode table 3-7).
 */
static size_t utf8_sequence(struct bytes bytes)
{
    const unsigned char *at = (const unsigned char *)bytes.data;
    unsigned char low = 0x80, high = 0xbf;
    size_t count;

    if (at[0] < 0xc2 || at[0] > 0xf4)
        return 0;
    count = at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    if (bytes.count < count)
        return 0;
    if (at[0] == 0xe0)
        low = 0xa0;
    else if (at[0] == 0xf0)
        low = 0x90;
    else if (at[0] == 0xed)
        high = 0x9f;
    else if (at[0] == 0xf4)
        high = 0x8f;
    if (at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < count; i++)
        if (at[i] < 0x80 || at[i] > 0xbf)
            return 0;
    return count;
}

void text_append_base64(struct text *text, struct bytes bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *out = text_reserve(text, (bytes.count + 2) / 3 * 4);
    const unsigned char *at = (const unsigned char *)bytes.data;

    for (size_t rest = bytes.count; rest > 0; rest -= rest < 3 ? rest : 3) {
        unsigned group = (unsigned)at[0] << 16;
        group |= rest > 1 ? (unsigned)at[1] << 8 : 0;
        group |= rest > 2 ? (unsigned)at[2] : 0;
        out[0] = digits[group >> 18];
        out[1] = digits[group >> 12 & 63];
        out[2] = rest > 1 ? digits[group >> 6 & 63] : '=';
        out[3] = rest > 2 ? digits[group & 63] : '=';
        out += 4;
        at += 3;
        text->count += 4;
    }
}

/* ---- times and durations, written ---- */

/* `count` digits and what follows them; gives the end. */
static char *write_digits(char *out, unsigned number, unsigned count, char next)
{
    for (unsigned i = count; i-- > 0; number /= 10)
        out[i] = (char)('0' + number % 10);
    out[count] = next;
    return out + count + 1;
}

void text_append_time(struct text *text, uint64_t unix_ns)
{
    if (unix_ns == 0) {
        text_append_literal(text, "0001-01-01T00:00:00Z");
        return;
    }

    int64_t seconds = (int64_t)(unix_ns / NS_PER_S);
    int64_t year; /* at most 2554: unix_ns ends there */
    unsigned month, day;
    date_from_days(seconds / SECONDS_PER_DAY, &year, &month, &day);
    unsigned second = (unsigned)(seconds % SECONDS_PER_DAY);
    char *out = text_reserve(text, sizeof("2006-01-02T15:04:05.999999999Z"));
    char *end = write_digits(out, (unsigned)year, 4, '-');
    end = write_digits(end, month, 2, '-');
    end = write_digits(end, day, 2, 'T');
    end = write_digits(end, second / 3600, 2, ':');
    end = write_digits(end, second / 60 % 60, 2, ':');
    end = write_digits(end, second % 60, 2, '.');
    end = write_digits(end, (unsigned)(unix_ns % NS_PER_S), 9, 'Z') - 1;
    while (end[-1] == '0') /* trailing zeros go, and then the point */
        end--;
    end -= end[-1] == '.';
    *end++ = 'Z';
    text->count += (size_t)(end - out);
}

void text_append_duration(struct text *text, int64_t ns)
{
    uint64_t rest = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    if (ns < 0)
        text_append_literal(text, "-");

    if (rest == 0) {
        text_append_literal(text, "0s");
    } else if (rest < NS_PER_US) {
        text_append_format(text, "%lluns", (unsigned long long)rest);
    } else if (rest < NS_PER_MS) {
        text_append_u64(text, rest / NS_PER_US);
        append_fraction(text, rest % NS_PER_US, 3);
        text_append_literal(text, "\xc2\xb5s");
    } else if (rest < NS_PER_S) {
        text_append_u64(text, rest / NS_PER_MS);
        append_fraction(text, rest % NS_PER_MS, 6);
        text_append_literal(text, "ms");
    } else {
        if (rest >= NS_PER_HOUR)
            text_append_format(text, "%lluh", (unsigned long long)(rest / NS_PER_HOUR));
        if (rest >= NS_PER_MINUTE)
            text_append_format(text, "%llum", (unsigned long long)(rest / NS_PER_MINUTE % 60));
        text_append_u64(text, rest / NS_PER_S % 60);
        append_fraction(text, rest % NS_PER_S, 9);
        text_append_literal(text, "s");
    }
}

/* A point and that many digits, without the zeros at their end; nothing when all are zero. */
static void append_fraction(struct text *text, uint64_t fraction, unsigned digits)
{
    if (fraction == 0)
        return;
    for (; fraction % 10 == 0; digits--)
        fraction /= 10;
    text_append_format(text, ".%0*llu", (int)digits, (unsigned long long)fraction);
}

/* ---- numbers ---- */

unsigned text_u64(char *out, uint64_t number)
{
    char digits[20];
    unsigned count = 0;
    do {
        digits[sizeof(digits) - ++count] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    memcpy(out, digits + sizeof(digits) - count, count);
    return count;
}

bool text_parse_u64(struct bytes digits, uint64_t *number_out)
{
    if (digits.count == 0 || digits.count > 19)
        return false;

    uint64_t number = 0; /* 19 digits cannot overflow */
    for (size_t i = 0; i < digits.count; i++) {
        unsigned digit = (unsigned)(unsigned char)digits.data[i] - '0';
        if (digit > 9)
            return false;
        number = number * 10 + digit;
    }
    *number_out = number;
    return true;
}

/* ---- times and durations, read ---- */

/* What is left to read; `is_good` turns false at the first thing that does not fit, and stays so. */
struct scan {
    struct bytes rest;
    bool is_good;
};

static unsigned scan_digits(struct scan *scan, size_t count);
static void scan_byte(struct scan *scan, char byte);
static bool scan_if(struct scan *scan, char byte);
static uint64_t scan_fraction_ns(struct scan *scan);
static int64_t scan_offset_seconds(struct scan *scan);
static unsigned days_in_month(unsigned year, unsigned month);

bool text_parse_time(struct bytes text, uint64_t *unix_ns_out)
{
    struct scan scan = {.rest = text, .is_good = true};
    unsigned year = scan_digits(&scan, 4);
    scan_byte(&scan, '-');
    unsigned month = scan_digits(&scan, 2);
    scan_byte(&scan, '-');
    unsigned day = scan_digits(&scan, 2);
    scan_byte(&scan, 'T');
    unsigned hour = scan_digits(&scan, 2);
    scan_byte(&scan, ':');
    unsigned minute = scan_digits(&scan, 2);
    scan_byte(&scan, ':');
    unsigned second = scan_digits(&scan, 2);
    bool has_fraction = scan_if(&scan, '.') || scan_if(&scan, ','); /* as Go */
    uint64_t fraction_ns = has_fraction ? scan_fraction_ns(&scan) : 0;
    int64_t offset = scan_offset_seconds(&scan);

    if (!scan.is_good || scan.rest.count > 0 || month < 1 || month > 12 || day < 1
        || day > days_in_month(year, month) || hour > 23 || minute > 59 || second > 59)
        return false;
    int64_t seconds = days_from_date(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60
                      + second - offset;
    if (seconds < 0)
        *unix_ns_out = 0;
    else if ((uint64_t)seconds >= UINT64_MAX / NS_PER_S)
        *unix_ns_out = UINT64_MAX;
    else
        *unix_ns_out = (uint64_t)seconds * NS_PER_S + fraction_ns;
    return true;
}

static unsigned scan_digits(struct scan *scan, size_t count)
{
    uint64_t number = 0;
    if (!scan->is_good || scan->rest.count < count
        || !text_parse_u64(bytes_of(scan->rest.data, count), &number)) {
        scan->is_good = false;
        return 0;
    }
    scan->rest = bytes_after(scan->rest, count);
    return (unsigned)number;
}

static void scan_byte(struct scan *scan, char byte)
{
    if (!scan_if(scan, byte))
        scan->is_good = false;
}

static bool scan_if(struct scan *scan, char byte)
{
    if (!scan->is_good || scan->rest.count == 0 || scan->rest.data[0] != byte)
        return false;
    scan->rest = bytes_after(scan->rest, 1);
    return true;
}

/* One digit or more; those after the ninth do not count. */
static uint64_t scan_fraction_ns(struct scan *scan)
{
    uint64_t ns = 0, unit = NS_PER_S / 10;
    size_t count = 0;
    for (; count < scan->rest.count; count++, unit /= 10) {
        unsigned digit = (unsigned)(unsigned char)scan->rest.data[count] - '0';
        if (digit > 9)
            break;
        ns += digit * unit;
    }
    if (count == 0)
        scan->is_good = false;
    scan->rest = bytes_after(scan->rest, count);
    return ns;
}

static int64_t scan_offset_seconds(struct scan *scan)
{
    if (scan_if(scan, 'Z'))
        return 0;
    bool is_east = scan_if(scan, '+');
    if (!is_east)
        scan_byte(scan, '-');
    unsigned hour = scan_digits(scan, 2);
    scan_byte(scan, ':');
    unsigned minute = scan_digits(scan, 2);
    if (hour > 24 || minute > 60) /* as Go: some people write 24 hours or 60 minutes */
        scan->is_good = false;
    int64_t seconds = hour * 3600 + minute * 60;
    return is_east ? seconds : -seconds;
}

static unsigned days_in_month(unsigned year, unsigned month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && is_leap ? 29 : days[month - 1];
}

/*
 * Days since 1970-01-01 in the Gregorian calendar, for years from 0 on. A year begins in March here, so that the leap day
 * is its last and a month's first day is a straight line: (153 m + 2) / 5. 400 years have 146097 days.
 */
static int64_t days_from_date(int64_t year, unsigned month, unsigned day)
{
    int64_t shifted = month <= 2 ? year - 1 : year;
    int64_t era = (shifted >= 0 ? shifted : shifted - 399) / 400;
    int64_t year_of_era = shifted - era * 400;
    int64_t day_of_year = (153 * (int64_t)(month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

/* The way back, for days from 0 on. */
static void date_from_days(int64_t days, int64_t *year_out, unsigned *month_out, unsigned *day_out)
{
    int64_t shifted = days + 719468;
    int64_t era = shifted / 146097;
    int64_t day_of_era = shifted % 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;
    *day_out = (unsigned)(day_of_year - (153 * month_from_march + 2) / 5 + 1);
    *month_out = (unsigned)(month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
    *year_out = year_of_era + era * 400 + (*month_out <= 2 ? 1 : 0);
}

static bool scan_duration_part(struct scan *scan, uint64_t *total_ns);
static size_t scan_whole(struct scan *scan, uint64_t limit, uint64_t *number_out);
static size_t scan_decimals(struct scan *scan, uint64_t *number_out, double *scale_out);
static uint64_t scan_unit_ns(struct scan *scan);

bool text_parse_duration(struct bytes text, int64_t *ns_out)
{
    struct scan scan = {.rest = text, .is_good = true};
    bool is_negative = scan_if(&scan, '-');
    if (!is_negative)
        (void)scan_if(&scan, '+'); /* a plus may be there or not */
    if (bytes_equal(scan.rest, BYTES_LITERAL("0"))) {
        *ns_out = 0;
        return true;
    }
    if (scan.rest.count == 0)
        return false;

    uint64_t total_ns = 0;
    while (scan.rest.count > 0)
        if (!scan_duration_part(&scan, &total_ns))
            return false;
    if (is_negative)
        *ns_out = (int64_t)(0 - total_ns);
    else if (total_ns > INT64_MAX)
        return false;
    else
        *ns_out = (int64_t)total_ns;
    return true;
}

/* "1.5h": digits on one side of the point at least. The total may reach 2^63, which only a minus makes valid. */
static bool scan_duration_part(struct scan *scan, uint64_t *total_ns)
{
    const uint64_t limit = (uint64_t)1 << 63;
    uint64_t whole = 0, fraction = 0;
    double scale = 1;
    size_t digit_count = scan_whole(scan, limit, &whole);
    if (scan_if(scan, '.'))
        digit_count += scan_decimals(scan, &fraction, &scale);
    uint64_t unit_ns = scan_unit_ns(scan);
    if (!scan->is_good || digit_count == 0 || unit_ns == 0 || whole > limit / unit_ns)
        return false;

    /* In floating point, as Go does it: the last digit must come out the same. */
    uint64_t part_ns = whole * unit_ns + (uint64_t)((double)fraction * ((double)unit_ns / scale));
    if (part_ns > limit || *total_ns > limit - part_ns)
        return false;
    *total_ns += part_ns;
    return true;
}

/* Both give the number of digits read. */
static size_t scan_whole(struct scan *scan, uint64_t limit, uint64_t *number_out)
{
    size_t count = 0;
    for (; count < scan->rest.count; count++) {
        unsigned digit = (unsigned)(unsigned char)scan->rest.data[count] - '0';
        if (digit > 9)
            break;
        if (*number_out > (limit - digit) / 10) {
            scan->is_good = false;
            break;
        }
        *number_out = *number_out * 10 + digit;
    }
    scan->rest = bytes_after(scan->rest, count);
    return count;
}

static size_t scan_decimals(struct scan *scan, uint64_t *number_out, double *scale_out)
{
    size_t count = 0;
    for (; count < scan->rest.count; count++) {
        unsigned digit = (unsigned)(unsigned char)scan->rest.data[count] - '0';
        if (digit > 9)
            break;
        if (*number_out > (INT64_MAX - 9) / 10)
            continue; /* far below a nanosecond */
        *number_out = *number_out * 10 + digit;
        *scale_out *= 10;
    }
    scan->rest = bytes_after(scan->rest, count);
    return count;
}

/* Takes the longest unit that fits; 0 when there is none, or when letters follow it. */
static uint64_t scan_unit_ns(struct scan *scan)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {{"ns", 1},
                 {"us", NS_PER_US},
                 {"\xc2\xb5s", NS_PER_US}, /* micro sign */
                 {"\xce\xbcs", NS_PER_US}, /* Greek mu */
                 {"ms", NS_PER_MS},
                 {"s", NS_PER_S},
                 {"m", NS_PER_MINUTE},
                 {"h", NS_PER_HOUR}};

    size_t count = 0;
    while (count < scan->rest.count && scan->rest.data[count] != '.'
           && (unsigned)(unsigned char)scan->rest.data[count] - '0' > 9)
        count++;
    struct bytes name = bytes_of(scan->rest.data, count);
    for (size_t i = 0; i < COUNT_OF(units); i++)
        if (bytes_equal(name, bytes_of_text(units[i].name))) {
            scan->rest = bytes_after(scan->rest, count);
            return units[i].ns;
        }
    return 0;
}
