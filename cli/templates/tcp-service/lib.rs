//! {{name}}: serves TCP services. Each stream that a peer opens is joined with a connection to where the service is.

use peerup_plugin_sdk::{
    Duplex, Error, Inbound, Request, ServiceBinding, join, log, settings, tcp,
};
use serde::Deserialize;

struct Plugin;

peerup_plugin_sdk::register!(Plugin: inbound);

/// The plugin's section of the config, as `plugin.toml` describes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Where every stream leads instead of the service's own address.
    target: Option<String>,
}

impl Inbound for Plugin {
    async fn handle(request: Request, connection: Duplex) -> Result<(), Error> {
        let settings: Settings = settings::get()?;
        let target = target(settings, request.service)?;
        let server = tcp::connect(&target).await?;
        log::debug(format!("{} is connected to {target}", request.peer));
        // The host carries the bytes from here on, and this instance ends.
        join(connection, server);
        Ok(())
    }
}

/// Says where a stream leads. Writing a service into the config grants connecting to its own address; any other
/// needs the grant `tcp.connect`.
fn target(settings: Settings, service: Option<ServiceBinding>) -> Result<String, Error> {
    match (settings.target, service) {
        (Some(target), _) => Ok(target),
        (None, Some(service)) => Ok(service.local_address),
        (None, None) => Err(Error::invalid("only services are served here")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web() -> Option<ServiceBinding> {
        Some(ServiceBinding {
            name: "web".to_owned(),
            local_address: "web.lan:80".to_owned(),
        })
    }

    #[test]
    fn a_service_leads_to_its_address() {
        let target = target(Settings { target: None }, web()).unwrap();
        assert_eq!(target, "web.lan:80");
    }

    #[test]
    fn the_setting_comes_first() {
        let set = Settings {
            target: Some("other.lan:81".to_owned()),
        };
        assert_eq!(target(set, web()).unwrap(), "other.lan:81");
    }
}
