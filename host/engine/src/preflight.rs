//! Says in one sentence why a component does not fit this host: the first import or export that does not match,
//! with its version and the host's.

use wasmtime::{Engine, component::Component};

/// The version of the contract that this host serves, and the older ones whose components run on it too.
pub const CONTRACT_VERSION: &str = "0.1.1";
/// Every version of the contract that a plugin may be built for.
pub const SERVED_VERSIONS: &[&str] = &["0.1.0", "0.1.1"];

const PACKAGE: &str = "peerup:plugin/";
/// What a plugin can import.
const IMPORTS: [&str; 13] = [
    "types",
    "streams",
    "tcp",
    "names",
    "name-list",
    "peers",
    "events",
    "udp",
    "store",
    "life",
    "settings",
    "log",
    "output",
];
/// What a plugin can export.
const EXPORTS: [&str; 6] = ["inbound", "command", "service", "resolver", "answer", "task"];

/// The full name of an export at the version that this host serves.
pub(crate) fn export_name(interface: &str) -> String {
    format!("{PACKAGE}{interface}@{CONTRACT_VERSION}")
}

/// Returns whether a component imports an interface of the contract, in any version that this host serves.
pub(crate) fn imports(engine: &Engine, component: &Component, interface: &str) -> bool {
    let ty = component.component_type();
    ty.imports(engine)
        .filter_map(|(name, _)| split(name))
        .any(|(known, _)| known == interface)
}

/// Tells why the linker took no component: `error` is what it said.
pub(crate) fn wrong_import(engine: &Engine, component: &Component, error: &wasmtime::Error) -> String {
    let said: Vec<String> = error.chain().map(ToString::to_string).collect();
    let ty = component.component_type();
    let named = |name: &str| said.iter().any(|text| text.contains(&format!("`{name}`")));
    let Some((import, _)) = ty.imports(engine).find(|(name, _)| named(name)) else {
        return format!("its imports do not match: {}", said.join(": "));
    };
    let why = said.last().map_or("", String::as_str);
    let Some((interface, version)) = split(import) else {
        return format!(
            "it imports {import}, which this host does not serve in that form; besides {PACKAGE}* it serves clocks, random \
             numbers, files and standard streams of WASI 0.2 and 0.3"
        );
    };
    if !IMPORTS.contains(&interface) {
        return format!(
            "it imports {import}, and contract {CONTRACT_VERSION}, which this host serves, has no such interface"
        );
    }
    let served = format!("{PACKAGE}{interface}@{CONTRACT_VERSION}");
    if !is_compatible(version) {
        return format!("it imports {import}, and this host serves {served}");
    }
    let function = said.iter().find_map(|text| {
        let rest = text.strip_prefix("instance export `")?;
        rest.split_once('`').map(|(function, _)| function)
    });
    match function {
        Some(function) if why.ends_with("is missing") => {
            format!("it imports {function} of {import}, which this host's {served} does not have")
        }
        Some(function) => format!(
            "{function} of {import}, which it imports, has another shape than in this host's {served}: {why}"
        ),
        None => format!("it imports {import} in another shape than this host's {served} has: {why}"),
    }
}

/// Returns the first export that looks like one of the contract and is none that this host knows.
pub(crate) fn wrong_export(engine: &Engine, component: &Component) -> Option<String> {
    let ty = component.component_type();
    let mut exports = ty
        .exports(engine)
        .filter_map(|(name, _)| Some((name, split(name)?)));
    exports.find_map(|(name, (interface, version))| {
        if !EXPORTS.contains(&interface) && !IMPORTS.contains(&interface) {
            return Some(format!(
                "it exports {name}, and contract {CONTRACT_VERSION}, which this host serves, has no such interface"
            ));
        }
        (!is_compatible(version))
            .then(|| format!("it exports {name}, and this host serves {PACKAGE}{interface}@{CONTRACT_VERSION}"))
    })
}

/// Tells that a component exports nothing that a host could call.
pub(crate) fn no_export() -> String {
    format!(
        "it exports none of {} of contract {CONTRACT_VERSION}",
        EXPORTS.join(", ")
    )
}

/// Splits `peerup:plugin/<interface>@<version>`.
fn split(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(PACKAGE)?.split_once('@')
}

/// Whether a component of this version of the contract finds what it knows here, as far as versions tell.
fn is_compatible(version: &str) -> bool {
    let minor = |text: &str| text.rsplit_once('.').map(|(minor, _)| minor.to_owned());
    minor(version) == minor(CONTRACT_VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interfaces_are_those_of_the_contract() {
        let wit = include_str!("../../../wit/0.1.1/peerup-plugin.wit");
        let of = |word: &str| -> Vec<&str> {
            let lines = wit
                .lines()
                .filter_map(|line| line.strip_prefix("    ")?.strip_prefix(word));
            lines.map(|rest| rest.trim().trim_end_matches(';')).collect()
        };
        assert_eq!(of("import "), IMPORTS);
        assert_eq!(of("export "), EXPORTS);
    }
}
