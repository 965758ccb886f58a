/* A wall clock that is wrong by as many seconds as the file WRONG_CLOCK says (a long, mapped, so that
 * a jump is there at once). Other clocks go on. Needs no headers and no C library to be linked. */

struct timespec { long seconds, nanoseconds; };
struct timeval { long seconds, microseconds; };

char *getenv(const char *);
int open(const char *, int, ...);
void *mmap(void *, unsigned long, int, int, int, long);
long syscall(long, ...);

static const volatile long *wrong;

__attribute__((constructor)) static void map(void) {
    const char *path = getenv("WRONG_CLOCK");
    void *mapped = mmap(0, sizeof(long), 1 /* PROT_READ */, 1 /* MAP_SHARED */, open(path, 0), 0);
    if (mapped != (void *)-1) wrong = mapped;
}

int clock_gettime(int clock, struct timespec *now) {
    long failed = syscall(CLOCK_GETTIME, (long)clock, now);
    /* CLOCK_REALTIME and CLOCK_REALTIME_COARSE */
    if (!failed && wrong && (clock == 0 || clock == 5)) now->seconds += *wrong;
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(0, &exact);
    now->seconds = exact.seconds;
    now->microseconds = exact.nanoseconds / 1000;
    return 0;
}

long time(long *told) {
    struct timespec exact;
    clock_gettime(0, &exact);
    if (told) *told = exact.seconds;
    return exact.seconds;
}
