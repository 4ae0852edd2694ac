/*
 * bench/report.c: rates, latencies and costs from counts. See report.h.
 */
#include "bench/report.h"

#include <stdio.h>

struct latency {
    double p50;
    double p99;
    double p999;
    double max;
};

static void print_text(const struct report *report);
static void print_json(const struct report *report);
static void print_latency(const char *name, const struct histogram *histogram);
static void print_json_text(const char *text);
static struct latency latency_of(const struct histogram *histogram);
static double per_op_us(uint64_t cpu_ns, uint64_t ops);
static double client_busy(const struct report *report);
static uint64_t server_cpu_ns(const struct result *result);
static double rss_per_key(const struct report *report);

void report_print(const struct report *report)
{
    if (report->options->prints_json)
        print_json(report);
    else
        print_text(report);
}

static void print_text(const struct report *report)
{
    const struct options *options = report->options;
    const struct result *result = report->result;
    const struct tally *tally = &result->tally;
    bool fans_out = options->workload == WORKLOAD_WATCH;
    bool lists = options->workload == WORKLOAD_LIST;

    printf("%s on %s:%s (server %s), bucket %s: %u connections x %u",
           workload_names[options->workload], options->host, options->port, report->server_version,
           options->bucket, options->connections, options->depth);
    if (fans_out)
        printf(", %u watchers", options->watchers);
    printf(", %u-byte values, %u keys\n", options->value_bytes, options->key_count);
    if (report->preload_seconds > 0)
        printf("  preload    %u keys in %.2f s\n", options->key_count, report->preload_seconds);
    printf("  %-10s %.0f/s  (%llu in %.2f s)\n",
           lists      ? "lists"
           : fans_out ? "puts"
                      : "ops",
           (double)tally->ops / result->seconds, (unsigned long long)tally->ops, result->seconds);
    if (fans_out || lists)
        printf("  %-10s %.0f/s  (%llu)\n", lists ? "keys" : "deliveries",
               (double)tally->deliveries / result->seconds, (unsigned long long)tally->deliveries);
    print_latency("latency", &tally->latency);
    if (tally->delivery.count > 0)
        print_latency("delivery", &tally->delivery);
    if (options->contended_keys > 0)
        printf("  conflicts  %llu (%.1f %% of %llu requests)\n",
               (unsigned long long)tally->conflicts,
               100.0 * (double)tally->conflicts
                   / (double)(tally->conflicts + tally->ops + !tally->ops),
               (unsigned long long)(tally->conflicts + tally->ops));
    printf("  cpu        client %.2f us/op (busy %.0f %%)",
           per_op_us(result->client_cpu_ns, tally->ops), 100 * client_busy(report));
    if (result->has_server_usage)
        printf(", server %.2f us/op, server RSS %.1f MB",
               per_op_us(server_cpu_ns(result), tally->ops),
               (double)result->server_after.rss_bytes / 1e6);
    printf("\n");
    if (report->has_rss)
        printf("  memory     %.1f MB before the preload, %.1f MB after: %.0f bytes a key\n",
               (double)report->rss_empty_bytes / 1e6, (double)report->rss_full_bytes / 1e6,
               rss_per_key(report));
    printf("  errors     %llu\n", (unsigned long long)tally->errors);
    if (tally->errors > 0)
        printf("  first      %s\n", tally->first_error);
}

static void print_json(const struct report *report)
{
    const struct options *options = report->options;
    const struct result *result = report->result;
    const struct tally *tally = &result->tally;
    struct latency latency = latency_of(&tally->latency);
    struct latency delivery = latency_of(&tally->delivery);
    printf("{\"workload\":\"%s\",\"server_version\":", workload_names[options->workload]);
    print_json_text(report->server_version);
    printf(",\"connections\":%u,\"depth\":%u,\"threads\":%u,\"watchers\":%u,\"value_bytes\":%u,"
           "\"keys\":%u,\"ops\":%llu,\"seconds\":%.4f,\"ops_per_s\":%.1f",
           options->connections, options->depth, options->threads,
           options->workload == WORKLOAD_WATCH ? options->watchers : 0, options->value_bytes,
           options->key_count, (unsigned long long)tally->ops, result->seconds,
           (double)tally->ops / result->seconds);
    printf(",\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f", latency.p50,
           latency.p99, latency.p999, latency.max);
    printf(",\"deliveries\":%llu,\"deliveries_per_s\":%.1f", (unsigned long long)tally->deliveries,
           (double)tally->deliveries / result->seconds);
    printf(",\"delivery_p50_us\":%.1f,\"delivery_p99_us\":%.1f,\"delivery_p999_us\":%.1f,"
           "\"delivery_max_us\":%.1f",
           delivery.p50, delivery.p99, delivery.p999, delivery.max);
    printf(",\"conflicts\":%llu,\"client_cpu_us_per_op\":%.3f,\"client_busy\":%.3f",
           (unsigned long long)tally->conflicts, per_op_us(result->client_cpu_ns, tally->ops),
           client_busy(report));
    if (result->has_server_usage)
        printf(",\"server_cpu_s\":%.3f,\"server_cpu_us_per_op\":%.3f,\"server_rss_bytes\":%llu",
               (double)server_cpu_ns(result) / 1e9, per_op_us(server_cpu_ns(result), tally->ops),
               (unsigned long long)result->server_after.rss_bytes);
    if (report->preload_seconds > 0)
        printf(",\"preload_seconds\":%.3f", report->preload_seconds);
    if (report->has_rss)
        printf(",\"rss_empty_bytes\":%llu,\"rss_full_bytes\":%llu,\"rss_per_key_bytes\":%.1f",
               (unsigned long long)report->rss_empty_bytes,
               (unsigned long long)report->rss_full_bytes, rss_per_key(report));
    printf(",\"errors\":%llu,\"first_error\":", (unsigned long long)tally->errors);
    print_json_text(tally->first_error);
    printf("}\n");
}

static void print_latency(const char *name, const struct histogram *histogram)
{
    struct latency latency = latency_of(histogram);
    printf("  %-10s p50 %.1f us, p99 %.1f us, p99.9 %.1f us, max %.1f us\n", name, latency.p50,
           latency.p99, latency.p999, latency.max);
}

static void print_json_text(const char *text)
{
    putchar('"');
    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte == '"' || byte == '\\')
            printf("\\%c", byte);
        else if (byte < 0x20 || byte >= 0x7f)
            printf("\\u%04x", byte);
        else
            putchar(byte);
    }
    putchar('"');
}

static struct latency latency_of(const struct histogram *histogram)
{
    return (struct latency){
        .p50 = (double)histogram_quantile(histogram, 0.5) / 1e3,
        .p99 = (double)histogram_quantile(histogram, 0.99) / 1e3,
        .p999 = (double)histogram_quantile(histogram, 0.999) / 1e3,
        .max = (double)histogram->max / 1e3,
    };
}

static double per_op_us(uint64_t cpu_ns, uint64_t ops)
{
    return ops == 0 ? 0 : (double)cpu_ns / 1e3 / (double)ops;
}

/* Near 1 means that the load generator's threads were the bottleneck, not the server. */
static double client_busy(const struct report *report)
{
    return (double)report->result->client_cpu_ns / 1e9 / report->result->seconds
           / report->options->threads;
}

static uint64_t server_cpu_ns(const struct result *result)
{
    return result->server_after.cpu_ns - result->server_before.cpu_ns;
}

static double rss_per_key(const struct report *report)
{
    if (report->rss_full_bytes <= report->rss_empty_bytes)
        return 0;
    return (double)(report->rss_full_bytes - report->rss_empty_bytes)
           / (double)report->options->key_count;
}
