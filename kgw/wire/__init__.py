"""Pure bytes <-> values: Kafka's frames, headers, messages and record batches. Knows no Twisted and no engine."""
