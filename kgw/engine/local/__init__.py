"""The embedded engine: partition logs in Kafka's own files, on the local disk."""
