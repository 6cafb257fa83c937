//! Composition root: configuration in, network, plugins and API joined, drained in order.
