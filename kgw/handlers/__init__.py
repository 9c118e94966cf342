"""One room per Kafka API key: wire shape of all versions, the versions served, the behaviour and the refusal."""
