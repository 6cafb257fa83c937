//! What wit-bindgen makes of the contract: one set of imports and a world for each export.
//!
//! The worlds share the imports, so a type from one is a type of all; a plugin that exports both is the
//! union of both worlds, which the linker forms. Nothing here is public API; the
//! `register!` macro has to reach it from the plugin's own crate.
#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::panic,
    clippy::unimplemented,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "generated code"
)]

wit_bindgen::generate!({
    path: ["../wit/deps/wasi-clocks-0.3.0", "../wit/0.1.0"],
    inline: "
        package peerup:sdk@0.1.0;
        world guest {
            include peerup:plugin/imports@0.1.0;
            import wasi:clocks/monotonic-clock@0.3.0;
        }
    ",
    world: "guest",
    generate_all,
});

/// A plugin that answers streams.
pub mod inbound_world {
    wit_bindgen::generate!({
        path: ["../wit/deps/wasi-clocks-0.3.0", "../wit/0.1.0"],
        inline: "
            package peerup:sdk@0.1.0;
            world guest-inbound {
                include peerup:plugin/imports@0.1.0;
                import wasi:clocks/monotonic-clock@0.3.0;
                export peerup:plugin/inbound@0.1.0;
            }
        ",
        world: "guest-inbound",
        with: {
            "wasi:clocks/types@0.3.0": crate::bindings::wasi::clocks::types,
            "wasi:clocks/monotonic-clock@0.3.0": crate::bindings::wasi::clocks::monotonic_clock,
            "peerup:plugin/types@0.1.0": crate::bindings::peerup::plugin::types,
            "peerup:plugin/streams@0.1.0": crate::bindings::peerup::plugin::streams,
            "peerup:plugin/tcp@0.1.0": crate::bindings::peerup::plugin::tcp,
            "peerup:plugin/names@0.1.0": crate::bindings::peerup::plugin::names,
            "peerup:plugin/peers@0.1.0": crate::bindings::peerup::plugin::peers,
            "peerup:plugin/settings@0.1.0": crate::bindings::peerup::plugin::settings,
            "peerup:plugin/log@0.1.0": crate::bindings::peerup::plugin::log,
            "peerup:plugin/output@0.1.0": crate::bindings::peerup::plugin::output,
            "peerup:plugin/inbound@0.1.0": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_inbound",
    });
}

/// A plugin that adds words to the command line.
pub mod command_world {
    wit_bindgen::generate!({
        path: ["../wit/deps/wasi-clocks-0.3.0", "../wit/0.1.0"],
        inline: "
            package peerup:sdk@0.1.0;
            world guest-command {
                include peerup:plugin/imports@0.1.0;
                import wasi:clocks/monotonic-clock@0.3.0;
                export peerup:plugin/command@0.1.0;
            }
        ",
        world: "guest-command",
        with: {
            "wasi:clocks/types@0.3.0": crate::bindings::wasi::clocks::types,
            "wasi:clocks/monotonic-clock@0.3.0": crate::bindings::wasi::clocks::monotonic_clock,
            "peerup:plugin/types@0.1.0": crate::bindings::peerup::plugin::types,
            "peerup:plugin/streams@0.1.0": crate::bindings::peerup::plugin::streams,
            "peerup:plugin/tcp@0.1.0": crate::bindings::peerup::plugin::tcp,
            "peerup:plugin/names@0.1.0": crate::bindings::peerup::plugin::names,
            "peerup:plugin/peers@0.1.0": crate::bindings::peerup::plugin::peers,
            "peerup:plugin/settings@0.1.0": crate::bindings::peerup::plugin::settings,
            "peerup:plugin/log@0.1.0": crate::bindings::peerup::plugin::log,
            "peerup:plugin/output@0.1.0": crate::bindings::peerup::plugin::output,
            "peerup:plugin/command@0.1.0": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_command",
    });
}
