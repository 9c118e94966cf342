"""Connections: order, backpressure and cancellation, and the gate where every error becomes an answer."""
