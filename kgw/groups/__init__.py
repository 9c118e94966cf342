"""Consumer groups: pure machines that know no time or network, and the coordinator that drives them."""
