//! What the contract's WIT becomes in Rust. Generated; everything here is named after the WIT.

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "the generator writes it; the WIT is documented"
)]

wasmtime::component::bindgen!({
    path: "../../wit/0.1.1",
    world: "host-side",
    imports: {
        "peerup:plugin/streams@0.1.1.[method]duplex.receive": store | trappable,
        "peerup:plugin/streams@0.1.1.[method]duplex.send": store | trappable,
        default: trappable,
    },
    exports: { default: async | store },
    with: {
        "peerup:plugin/streams.duplex": crate::handles::DuplexHandle,
        "peerup:plugin/tcp.listener": crate::handles::ListenerHandle,
        "peerup:plugin/events.subscription": crate::handles::SubscriptionHandle,
        "peerup:plugin/udp.socket": crate::handles::SocketHandle,
    },
});
