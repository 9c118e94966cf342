"""What a topic and a partition mean, whichever engine holds the records."""
