//! What a plugin implements, and the macro that exports it.

use std::{future::Future, marker::PhantomData};

use serde::de::DeserializeOwned;

use crate::{
    Duplex, Error, Peer,
    bindings::{
        command_world::exports::peerup::plugin::command as raw_command,
        inbound_world::exports::peerup::plugin::inbound as raw_inbound,
        peerup::plugin::types::Error as RawError,
    },
};

/// A stream that a peer opened, seen from the side that answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The protocol it was opened on.
    pub protocol: String,
    /// Set where the protocol is that of a service.
    pub service: Option<Service>,
    /// Authenticated by the connection and allowed by the gate.
    pub peer: Peer,
}

/// A service that the operator bound to this plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name in the config.
    pub name: String,
    /// Its `local_address`, `host:port`. Writing the service into the config granted connecting to it.
    pub local_address: String,
}

/// Answers streams that peers open on the plugin's protocols. Each stream gets a fresh instance.
///
/// ```no_run
/// # use peerup_plugin_sdk::{Duplex, Error, Inbound, Request, copy};
/// struct Echo;
///
/// impl Inbound for Echo {
///     async fn handle(_: Request, connection: Duplex) -> Result<(), Error> {
///         let mut outgoing = connection.send();
///         copy(&mut connection.receive(), &mut outgoing).await?;
///         outgoing.finish().await
///     }
/// }
/// ```
pub trait Inbound {
    /// Answers one stream. An error resets it and is logged.
    fn handle(request: Request, connection: Duplex) -> impl Future<Output = Result<(), Error>>;
}

/// Adds words to the command line and the API. Each run gets its own instance, which lives until it returns.
///
/// ```no_run
/// # use peerup_plugin_sdk::{Arguments, Command, Error, output};
/// struct Hello;
///
/// #[derive(serde::Deserialize)]
/// struct Whom {
///     name: String,
/// }
///
/// impl Command for Hello {
///     async fn run(_: String, arguments: Arguments) -> Result<(), Error> {
///         let Whom { name } = arguments.parse()?;
///         output::emit(format!("hello {name}"), &serde_json::json!({ "greeted": name })).await
///     }
/// }
/// ```
pub trait Command {
    /// Runs the word `name`. What it tells goes through [`output`](crate::output); an error ends the run and
    /// decides the exit code.
    fn run(name: String, arguments: Arguments) -> impl Future<Output = Result<(), Error>>;
}

/// The arguments of a command: a JSON object.
///
/// ```
/// # use peerup_plugin_sdk::Arguments;
/// #[derive(serde::Deserialize)]
/// struct Count {
///     count: u32,
/// }
///
/// let arguments = Arguments::from(r#"{"count": 3}"#.to_owned());
/// assert_eq!(arguments.parse::<Count>().unwrap().count, 3);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments(String);

impl Arguments {
    /// Reads them into a type of the plugin's own. Fails with [`Error::Invalid`], naming the key.
    ///
    /// ```
    /// # use peerup_plugin_sdk::{Arguments, Error};
    /// let arguments = Arguments::from("[]".to_owned());
    /// assert!(matches!(arguments.parse::<u32>(), Err(Error::Invalid(_))));
    /// ```
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(&self.0).map_err(|error| Error::invalid(format!("bad arguments: {error}")))
    }
}

impl From<String> for Arguments {
    fn from(json: String) -> Self {
        Self(json)
    }
}

/// Exports a type as the plugin: `register!(MyPlugin: inbound)`, `register!(MyPlugin: command)` or
/// `register!(MyPlugin: inbound, command)`. Once in a crate.
///
/// ```no_run
/// # use peerup_plugin_sdk::{Duplex, Error, Inbound, Request};
/// struct Discard;
///
/// impl Inbound for Discard {
///     async fn handle(_: Request, _: Duplex) -> Result<(), Error> {
///         Ok(())
///     }
/// }
///
/// peerup_plugin_sdk::register!(Discard: inbound);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! register {
    ($plugin:ty: inbound, command) => {
        $crate::register!($plugin: inbound);
        $crate::register!($plugin: command);
    };
    ($plugin:ty: inbound) => {
        const _: () = {
            type Registered = $crate::Registered<$plugin>;
            $crate::bindings::inbound_world::export_inbound!(Registered with_types_in $crate::bindings::inbound_world);
        };
    };
    ($plugin:ty: command) => {
        const _: () = {
            type Registered = $crate::Registered<$plugin>;
            $crate::bindings::command_world::export_command!(Registered with_types_in $crate::bindings::command_world);
        };
    };
}

/// Stands between the generated exports and the traits above.
#[derive(Debug)]
pub struct Registered<T>(PhantomData<T>);

impl<T: Inbound> raw_inbound::Guest for Registered<T> {
    async fn handle(request: raw_inbound::Request, connection: raw_inbound::Duplex) -> Result<(), RawError> {
        let request = Request {
            protocol: request.protocol,
            service: request.service.map(|service| Service {
                name: service.name,
                local_address: service.local_address,
            }),
            peer: request.peer.into(),
        };
        T::handle(request, connection.into()).await?;
        Ok(())
    }
}

impl<T: Command> raw_command::Guest for Registered<T> {
    async fn run(name: String, arguments: String) -> Result<(), RawError> {
        T::run(name, Arguments(arguments)).await?;
        Ok(())
    }
}
