"""Client quotas: who may produce, fetch, ask and connect how fast, and how long those wait who are faster (KIP-13)."""
