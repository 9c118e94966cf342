"""Several gateways as one cluster: who is there, who leads what, and how it passes from one to another."""
