//! The libp2p node: gate, streams, swarm loop and its handle.
