//! Pure state machines: reservations, backoff, path choice. No I/O; time comes in.
