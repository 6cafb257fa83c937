//! Test settings: two nodes, a lab of network namespaces, hostile peers.
