"""HTTP: metrics, health and what people want to see of a gateway."""
