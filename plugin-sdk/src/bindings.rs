//! What wit-bindgen makes of the contract: one set of imports and a world for each export.
//!
//! The worlds share the imports, so a type from one is a type of all; a plugin that exports several is
//! the union of their worlds, which the linker forms. Nothing here is public API; the
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
    path: ["../wit/deps/wasi-clocks-0.3.0", "../wit/0.1.1"],
    inline: "
        package peerup:sdk@0.1.1;
        world guest {
            include peerup:plugin/imports@0.1.1;
            import wasi:clocks/monotonic-clock@0.3.0;
        }
    ",
    world: "guest",
    generate_all,
});

/// A plugin that answers streams.
pub mod inbound_world {
    wit_bindgen::generate!({
        path: ["../wit/deps/wasi-clocks-0.3.0", "../wit/0.1.1"],
        inline: "
            package peerup:sdk@0.1.1;
            world guest-inbound {
                include peerup:plugin/imports@0.1.1;
                import wasi:clocks/monotonic-clock@0.3.0;
                export peerup:plugin/inbound@0.1.1;
            }
        ",
        world: "guest-inbound",
        with: {
            "wasi:clocks/types@0.3.0": crate::bindings::wasi::clocks::types,
            "wasi:clocks/monotonic-clock@0.3.0": crate::bindings::wasi::clocks::monotonic_clock,
            "peerup:plugin/types@0.1.1": crate::bindings::peerup::plugin::types,
            "peerup:plugin/streams@0.1.1": crate::bindings::peerup::plugin::streams,
            "peerup:plugin/tcp@0.1.1": crate::bindings::peerup::plugin::tcp,
            "peerup:plugin/names@0.1.1": crate::bindings::peerup::plugin::names,
            "peerup:plugin/name-list@0.1.1": crate::bindings::peerup::plugin::name_list,
            "peerup:plugin/peers@0.1.1": crate::bindings::peerup::plugin::peers,
            "peerup:plugin/events@0.1.1": crate::bindings::peerup::plugin::events,
            "peerup:plugin/udp@0.1.1": crate::bindings::peerup::plugin::udp,
            "peerup:plugin/store@0.1.1": crate::bindings::peerup::plugin::store,
            "peerup:plugin/life@0.1.1": crate::bindings::peerup::plugin::life,
            "peerup:plugin/settings@0.1.1": crate::bindings::peerup::plugin::settings,
            "peerup:plugin/log@0.1.1": crate::bindings::peerup::plugin::log,
            "peerup:plugin/output@0.1.1": crate::bindings::peerup::plugin::output,
            "peerup:plugin/inbound@0.1.1": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_inbound",
    });
}

/// A plugin that adds words to the command line.
pub mod command_world {
    wit_bindgen::generate!({
        path: ["../wit/deps/wasi-clocks-0.3.0", "../wit/0.1.1"],
        inline: "
            package peerup:sdk@0.1.1;
            world guest-command {
                include peerup:plugin/imports@0.1.1;
                import wasi:clocks/monotonic-clock@0.3.0;
                export peerup:plugin/command@0.1.1;
            }
        ",
        world: "guest-command",
        with: {
            "wasi:clocks/types@0.3.0": crate::bindings::wasi::clocks::types,
            "wasi:clocks/monotonic-clock@0.3.0": crate::bindings::wasi::clocks::monotonic_clock,
            "peerup:plugin/types@0.1.1": crate::bindings::peerup::plugin::types,
            "peerup:plugin/streams@0.1.1": crate::bindings::peerup::plugin::streams,
            "peerup:plugin/tcp@0.1.1": crate::bindings::peerup::plugin::tcp,
            "peerup:plugin/names@0.1.1": crate::bindings::peerup::plugin::names,
            "peerup:plugin/name-list@0.1.1": crate::bindings::peerup::plugin::name_list,
            "peerup:plugin/peers@0.1.1": crate::bindings::peerup::plugin::peers,
            "peerup:plugin/events@0.1.1": crate::bindings::peerup::plugin::events,
            "peerup:plugin/udp@0.1.1": crate::bindings::peerup::plugin::udp,
            "peerup:plugin/store@0.1.1": crate::bindings::peerup::plugin::store,
            "peerup:plugin/life@0.1.1": crate::bindings::peerup::plugin::life,
            "peerup:plugin/settings@0.1.1": crate::bindings::peerup::plugin::settings,
            "peerup:plugin/log@0.1.1": crate::bindings::peerup::plugin::log,
            "peerup:plugin/output@0.1.1": crate::bindings::peerup::plugin::output,
            "peerup:plugin/command@0.1.1": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_command",
    });
}

/// A plugin that runs as long as it is enabled.
pub mod service_world {
    wit_bindgen::generate!({
        path: ["../wit/deps/wasi-clocks-0.3.0", "../wit/0.1.1"],
        inline: "
            package peerup:sdk@0.1.1;
            world guest-service {
                include peerup:plugin/imports@0.1.1;
                import wasi:clocks/monotonic-clock@0.3.0;
                export peerup:plugin/service@0.1.1;
            }
        ",
        world: "guest-service",
        with: {
            "wasi:clocks/types@0.3.0": crate::bindings::wasi::clocks::types,
            "wasi:clocks/monotonic-clock@0.3.0": crate::bindings::wasi::clocks::monotonic_clock,
            "peerup:plugin/types@0.1.1": crate::bindings::peerup::plugin::types,
            "peerup:plugin/streams@0.1.1": crate::bindings::peerup::plugin::streams,
            "peerup:plugin/tcp@0.1.1": crate::bindings::peerup::plugin::tcp,
            "peerup:plugin/names@0.1.1": crate::bindings::peerup::plugin::names,
            "peerup:plugin/name-list@0.1.1": crate::bindings::peerup::plugin::name_list,
            "peerup:plugin/peers@0.1.1": crate::bindings::peerup::plugin::peers,
            "peerup:plugin/events@0.1.1": crate::bindings::peerup::plugin::events,
            "peerup:plugin/udp@0.1.1": crate::bindings::peerup::plugin::udp,
            "peerup:plugin/store@0.1.1": crate::bindings::peerup::plugin::store,
            "peerup:plugin/life@0.1.1": crate::bindings::peerup::plugin::life,
            "peerup:plugin/settings@0.1.1": crate::bindings::peerup::plugin::settings,
            "peerup:plugin/log@0.1.1": crate::bindings::peerup::plugin::log,
            "peerup:plugin/output@0.1.1": crate::bindings::peerup::plugin::output,
            "peerup:plugin/service@0.1.1": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_service",
    });
}

/// A plugin that is a tier of the name chain.
pub mod resolver_world {
    wit_bindgen::generate!({
        path: ["../wit/deps/wasi-clocks-0.3.0", "../wit/0.1.1"],
        inline: "
            package peerup:sdk@0.1.1;
            world guest-resolver {
                include peerup:plugin/imports@0.1.1;
                import wasi:clocks/monotonic-clock@0.3.0;
                export peerup:plugin/resolver@0.1.1;
            }
        ",
        world: "guest-resolver",
        with: {
            "wasi:clocks/types@0.3.0": crate::bindings::wasi::clocks::types,
            "wasi:clocks/monotonic-clock@0.3.0": crate::bindings::wasi::clocks::monotonic_clock,
            "peerup:plugin/types@0.1.1": crate::bindings::peerup::plugin::types,
            "peerup:plugin/streams@0.1.1": crate::bindings::peerup::plugin::streams,
            "peerup:plugin/tcp@0.1.1": crate::bindings::peerup::plugin::tcp,
            "peerup:plugin/names@0.1.1": crate::bindings::peerup::plugin::names,
            "peerup:plugin/name-list@0.1.1": crate::bindings::peerup::plugin::name_list,
            "peerup:plugin/peers@0.1.1": crate::bindings::peerup::plugin::peers,
            "peerup:plugin/events@0.1.1": crate::bindings::peerup::plugin::events,
            "peerup:plugin/udp@0.1.1": crate::bindings::peerup::plugin::udp,
            "peerup:plugin/store@0.1.1": crate::bindings::peerup::plugin::store,
            "peerup:plugin/life@0.1.1": crate::bindings::peerup::plugin::life,
            "peerup:plugin/settings@0.1.1": crate::bindings::peerup::plugin::settings,
            "peerup:plugin/log@0.1.1": crate::bindings::peerup::plugin::log,
            "peerup:plugin/output@0.1.1": crate::bindings::peerup::plugin::output,
            "peerup:plugin/resolver@0.1.1": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_resolver",
    });
}

/// A plugin that answers whole requests.
pub mod answer_world {
    wit_bindgen::generate!({
        path: ["../wit/deps/wasi-clocks-0.3.0", "../wit/0.1.1"],
        inline: "
            package peerup:sdk@0.1.1;
            world guest-answer {
                include peerup:plugin/imports@0.1.1;
                import wasi:clocks/monotonic-clock@0.3.0;
                export peerup:plugin/answer@0.1.1;
            }
        ",
        world: "guest-answer",
        with: {
            "wasi:clocks/types@0.3.0": crate::bindings::wasi::clocks::types,
            "wasi:clocks/monotonic-clock@0.3.0": crate::bindings::wasi::clocks::monotonic_clock,
            "peerup:plugin/types@0.1.1": crate::bindings::peerup::plugin::types,
            "peerup:plugin/streams@0.1.1": crate::bindings::peerup::plugin::streams,
            "peerup:plugin/tcp@0.1.1": crate::bindings::peerup::plugin::tcp,
            "peerup:plugin/names@0.1.1": crate::bindings::peerup::plugin::names,
            "peerup:plugin/name-list@0.1.1": crate::bindings::peerup::plugin::name_list,
            "peerup:plugin/peers@0.1.1": crate::bindings::peerup::plugin::peers,
            "peerup:plugin/events@0.1.1": crate::bindings::peerup::plugin::events,
            "peerup:plugin/udp@0.1.1": crate::bindings::peerup::plugin::udp,
            "peerup:plugin/store@0.1.1": crate::bindings::peerup::plugin::store,
            "peerup:plugin/life@0.1.1": crate::bindings::peerup::plugin::life,
            "peerup:plugin/settings@0.1.1": crate::bindings::peerup::plugin::settings,
            "peerup:plugin/log@0.1.1": crate::bindings::peerup::plugin::log,
            "peerup:plugin/output@0.1.1": crate::bindings::peerup::plugin::output,
            "peerup:plugin/answer@0.1.1": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_answer",
    });
}

/// A plugin whose words on the command line tell everything at their end.
pub mod task_world {
    wit_bindgen::generate!({
        path: ["../wit/deps/wasi-clocks-0.3.0", "../wit/0.1.1"],
        inline: "
            package peerup:sdk@0.1.1;
            world guest-task {
                include peerup:plugin/imports@0.1.1;
                import wasi:clocks/monotonic-clock@0.3.0;
                export peerup:plugin/task@0.1.1;
            }
        ",
        world: "guest-task",
        with: {
            "wasi:clocks/types@0.3.0": crate::bindings::wasi::clocks::types,
            "wasi:clocks/monotonic-clock@0.3.0": crate::bindings::wasi::clocks::monotonic_clock,
            "peerup:plugin/types@0.1.1": crate::bindings::peerup::plugin::types,
            "peerup:plugin/streams@0.1.1": crate::bindings::peerup::plugin::streams,
            "peerup:plugin/tcp@0.1.1": crate::bindings::peerup::plugin::tcp,
            "peerup:plugin/names@0.1.1": crate::bindings::peerup::plugin::names,
            "peerup:plugin/name-list@0.1.1": crate::bindings::peerup::plugin::name_list,
            "peerup:plugin/peers@0.1.1": crate::bindings::peerup::plugin::peers,
            "peerup:plugin/events@0.1.1": crate::bindings::peerup::plugin::events,
            "peerup:plugin/udp@0.1.1": crate::bindings::peerup::plugin::udp,
            "peerup:plugin/store@0.1.1": crate::bindings::peerup::plugin::store,
            "peerup:plugin/life@0.1.1": crate::bindings::peerup::plugin::life,
            "peerup:plugin/settings@0.1.1": crate::bindings::peerup::plugin::settings,
            "peerup:plugin/log@0.1.1": crate::bindings::peerup::plugin::log,
            "peerup:plugin/output@0.1.1": crate::bindings::peerup::plugin::output,
            "peerup:plugin/task@0.1.1": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_task",
    });
}
