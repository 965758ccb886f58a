"""HTTP by the byte: listener, transports, strict parsing, Hypercorn behind a filter, TLS."""
