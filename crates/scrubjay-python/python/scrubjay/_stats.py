"""What was counted."""

import typing


class Stats(typing.NamedTuple):
    """What a memoized function, all its instances included, or a cache has counted since it was cleared last."""

    hits: int
    misses: int
    #: Runs that returned.
    loads: int
    #: Runs that raised.
    errors: int
    #: Calls that waited for the run of another.
    waits: int
    #: Runs in the background, while the stale result was handed out.
    refreshes: int
    evictions: int
    expirations: int
    #: Results that were heavier than the capacity.
    rejections: int
    entries: int
    weight: int
    #: The most weight of one memory; None is unbounded.
    capacity: int | None
    #: Seconds that runs took.
    load_time: float
    #: Misses in memory that the disk answered.
    disk_hits: int = 0
    disk_misses: int = 0
    #: Results that were given to the disk.
    disk_writes: int = 0
    #: What the disk could not read, write or name. Each kind is warned of once.
    disk_failures: int = 0

    @property
    def hit_ratio(self) -> float:
        """Hits by look-ups; 0 before the first."""
        lookups = self.hits + self.misses
        return self.hits / lookups if lookups else 0.0

    @property
    def time_saved(self) -> float:
        """Seconds that hits would have taken, if each had taken as long as a run takes on average."""
        return self.hits * self.load_time / self.loads if self.loads else 0.0

    def __str__(self) -> str:
        capacity = "unbounded" if self.capacity is None else f"{self.capacity:,}"
        rows = [
            ("hits", f"{self.hits:,} ({self.hit_ratio:.1%})"),
            ("misses", f"{self.misses:,}"),
            ("loads", f"{self.loads:,} in {duration(self.load_time)}"),
            ("errors", f"{self.errors:,}"),
            ("waits", f"{self.waits:,}"),
            ("refreshes", f"{self.refreshes:,}"),
            ("evictions", f"{self.evictions:,}"),
            ("expirations", f"{self.expirations:,}"),
            ("rejections", f"{self.rejections:,}"),
            ("entries", f"{self.entries:,}, weight {self.weight:,} of {capacity}"),
            ("time saved", f"about {duration(self.time_saved)}"),
        ]
        if self.disk_hits or self.disk_misses or self.disk_failures:
            rows.append(("disk", f"{self.disk_hits:,} hits, {self.disk_misses:,} misses, {self.disk_writes:,} writes"))
            rows.append(("", f"{self.disk_failures:,} failures"))
        return "\n".join(f"{name:<12}{value}" for name, value in rows)


def stats_of(memory, loader):
    """What a memory and those that count with it, and their loader, have counted."""
    counts, disk = loader.counts, loader.disk
    below = () if disk is None else (disk.hits, disk.misses.total, disk.writes.total, disk.failures.total)
    hits, misses, entries, weight, evictions, expirations, rejections = memory.counts()
    return Stats(
        hits, misses, counts.loads, counts.errors, counts.waits, counts.refreshes,
        evictions, expirations, rejections, entries, weight, memory.capacity, counts.load_time, *below,
    )  # fmt: skip


def duration(seconds):
    for unit, length in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns" if seconds else "0 s"
