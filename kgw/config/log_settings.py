"""The properties of partition logs: where they are, and what topics that say nothing else inherit."""

from __future__ import annotations

from kgw.config.setting import Setting


class LogSettings:
    """What logs obey, in any engine."""

    log_dir: Setting[str] = Setting("The data directory, where log.dirs is not set.", default="./kgw-data")
    log_dirs: Setting[str | None] = Setting("The data directory; kgw keeps one.")
    log_retention_check_interval_ms: Setting[int] = Setting(
        "How often segments past their retention are looked for.", unit="ms"
    )
    log_retention_ms: Setting[int | None] = Setting("How long records are kept; -1 is for ever.", unit="ms")
    log_retention_minutes: Setting[int | None] = Setting("As log.retention.ms, which goes first.", unit="minutes")
    log_retention_hours: Setting[int] = Setting("As log.retention.minutes, which goes first.", unit="hours")
    log_retention_bytes: Setting[int] = Setting("How much of a partition is kept; -1 is all.", unit="bytes")
    log_roll_ms: Setting[int | None] = Setting("A segment older than this is closed for a new one.", unit="ms")
    log_roll_hours: Setting[int] = Setting("As log.roll.ms, which goes first.", unit="hours")
    log_roll_jitter_ms: Setting[int | None] = Setting("At most so much is taken off log.roll.ms, at random.", unit="ms")
    log_roll_jitter_hours: Setting[int] = Setting("As log.roll.jitter.ms, which goes first.", unit="hours")
    log_segment_bytes: Setting[int] = Setting("A segment is closed for a new one before it is larger.", unit="bytes")
    log_segment_delete_delay_ms: Setting[int] = Setting("How long the files of a deleted segment stay.", unit="ms")
    log_index_interval_bytes: Setting[int] = Setting("Bytes of log between two entries of its index.", unit="bytes")
    log_index_size_max_bytes: Setting[int] = Setting(
        "A segment is closed for a new one when its index is full.", unit="bytes"
    )
    log_preallocate: Setting[bool] = Setting("Whether the file of a segment gets its full size at once.")
    log_flush_interval_messages: Setting[int] = Setting("Records after which a partition is forced to the disk.")
    log_flush_interval_ms: Setting[int | None] = Setting(
        "Time after which a partition is forced to the disk.", unit="ms"
    )
    log_flush_scheduler_interval_ms: Setting[int] = Setting("As log.flush.interval.ms, which goes first.", unit="ms")
    log_flush_offset_checkpoint_interval_ms: Setting[int] = Setting(
        "How often all logs are forced to the disk, so that a start after a crash need not check what is older.",
        unit="ms",
        minimum=1,
    )
    log_cleanup_policy: Setting[tuple[str, ...]] = Setting("What happens to old records: delete, compact or both.")
    log_cleaner_enable: Setting[bool] = Setting("Whether compacted topics are compacted (local engine).")
    log_cleaner_backoff_ms: Setting[int] = Setting("How often dirty logs are looked for.", unit="ms", minimum=1)
    log_cleaner_dedupe_buffer_size: Setting[int] = Setting(
        "Memory for the keys of one compaction, 192 bytes each; where they do not fit in, it takes several passes.",
        unit="bytes",
        minimum=1 << 20,
    )
    log_cleaner_io_buffer_size: Setting[int] = Setting("Bytes the cleaner reads at a time.", unit="bytes", minimum=4096)
    log_cleaner_io_max_bytes_per_second: Setting[float] = Setting(
        "What the cleaner may read and write in a second, together.", unit="bytes", minimum=1
    )
    log_cleaner_min_cleanable_ratio: Setting[float] = Setting(
        "A log is compacted when more than this part of it is new since the last time."
    )
    log_cleaner_delete_retention_ms: Setting[int] = Setting(
        "How long a tombstone stays after it was first compacted.", unit="ms"
    )
    log_cleaner_min_compaction_lag_ms: Setting[int] = Setting("Records younger than this are not compacted.", unit="ms")
    log_cleaner_max_compaction_lag_ms: Setting[int] = Setting(
        "Records older than this are compacted, however few there are.", unit="ms"
    )
    log_message_timestamp_type: Setting[str] = Setting("Whose time a record carries: the producer's or the log's.")
    log_message_timestamp_before_max_ms: Setting[int] = Setting("How far behind a record's time may be.", unit="ms")
    log_message_timestamp_after_max_ms: Setting[int] = Setting("How far ahead a record's time may be.", unit="ms")
    message_max_bytes: Setting[int] = Setting("The largest record batch, as it is stored.", unit="bytes")
    min_insync_replicas: Setting[int] = Setting("Replicas that must have a record with acks=all; there is one.")
    compression_type: Setting[str] = Setting("How batches are stored; producer is as they come.")
    compression_gzip_level: Setting[int] = Setting("Level where kgw itself compresses with gzip.")
    compression_lz4_level: Setting[int] = Setting("Level where kgw itself compresses with lz4.")
    compression_zstd_level: Setting[int] = Setting("Level where kgw itself compresses with zstd.")
