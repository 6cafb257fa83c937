//! What a plugin implements, and the macro that exports it.

use std::{future::Future, marker::PhantomData, time::Duration};

use serde::de::DeserializeOwned;

use crate::{
    Duplex, Error, Peer,
    bindings::{
        answer_world::exports::peerup::plugin::answer as raw_answer,
        command_world::exports::peerup::plugin::command as raw_command,
        inbound_world::exports::peerup::plugin::inbound as raw_inbound,
        peerup::plugin::types::Error as RawError,
        resolver_world::exports::peerup::plugin::resolver as raw_resolver,
        service_world::exports::peerup::plugin::service as raw_service,
        task_world::exports::peerup::plugin::task as raw_task,
    },
};

/// A stream that a peer opened, seen from the side that answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The protocol it was opened on.
    pub protocol: String,
    /// Set where the protocol is that of a service.
    pub service: Option<ServiceBinding>,
    /// Authenticated by the connection and allowed by the gate.
    pub peer: Peer,
}

/// A service that the operator bound to this plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceBinding {
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

/// Runs as long as the plugin is enabled, in one instance of its own. The host starts it again with a growing
/// delay when it fails or panics. Five failures in ten minutes turn the plugin off for ten minutes.
///
/// ```no_run
/// # use peerup_plugin_sdk::{Error, Service, events, life, log};
/// struct Watch;
///
/// impl Service for Watch {
///     async fn run() -> Result<(), Error> {
///         let subscription = events::subscribe().await?;
///         life::until_stopping(async {
///             loop {
///                 let event = subscription.next().await?;
///                 log::info(format!("{:?}", event.kind));
///             }
///         })
///         .await
///         .unwrap_or(Ok(()))
///     }
/// }
/// ```
pub trait Service {
    /// Returns once [`life::stopping`](crate::life::stopping) has, or whenever it has nothing to do any more.
    fn run() -> impl Future<Output = Result<(), Error>>;
}

/// Who a name stands for, as a resolver says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The peer id in base58.
    pub peer: String,
    /// How long the host may keep the answer, to the second and at most a day; five minutes where this is none.
    pub ttl: Option<Duration>,
}

/// A tier of the name chain, in the order of `resolvers:` in the config. Each question gets a fresh instance.
///
/// ```no_run
/// # use peerup_plugin_sdk::{Error, Resolved, Resolver, name_list};
/// struct Local;
///
/// impl Resolver for Local {
///     async fn resolve(name: String) -> Result<Option<Resolved>, Error> {
///         let peer = name_list::find(&name).await?;
///         Ok(peer.map(|peer| Resolved { peer, ttl: None }))
///     }
/// }
/// ```
pub trait Resolver {
    /// Says who the name stands for; none where it does not know and the next tier is to be asked. An error is
    /// logged, not kept, and the next tier is asked.
    fn resolve(name: String) -> impl Future<Output = Result<Option<Resolved>, Error>>;
}

/// What was asked of an [`Answer`], besides its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The protocol it came on.
    pub protocol: String,
    /// The name of the service that the operator bound to this plugin, where the protocol is that of one.
    pub service: Option<String>,
    /// Authenticated by the connection and allowed by the gate.
    pub peer: Peer,
}

/// Answers whole requests of peers, without waiting for anything: of the imports only those that are not `async`
/// can be used. [`Inbound`] can do more.
///
/// ```no_run
/// # use peerup_plugin_sdk::{Answer, Error, Question};
/// struct Shout;
///
/// impl Answer for Shout {
///     fn answer(_: Question, body: Vec<u8>) -> Result<Vec<u8>, Error> {
///         Ok(body.to_ascii_uppercase())
///     }
/// }
/// ```
pub trait Answer {
    /// Answers one request. An error resets the stream and is logged.
    fn answer(question: Question, body: Vec<u8>) -> Result<Vec<u8>, Error>;
}

/// One fact of a [`TaskCommand`]: as text for a person and as a JSON object for a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// One line, or a few.
    pub text: String,
    /// A JSON object.
    pub json: String,
}

/// Adds words to the command line that tell everything at their end, without waiting for anything. [`Command`] can
/// do more.
///
/// ```no_run
/// # use peerup_plugin_sdk::{Arguments, Error, Fact, TaskCommand};
/// struct Hello;
///
/// impl TaskCommand for Hello {
///     fn run(_: String, _: Arguments) -> Result<Vec<Fact>, Error> {
///         Ok(vec![Fact { text: "hello".into(), json: "{}".into() }])
///     }
/// }
/// ```
pub trait TaskCommand {
    /// Runs the word `name`.
    fn run(name: String, arguments: Arguments) -> Result<Vec<Fact>, Error>;
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
    ($plugin:ty: $first:ident, $($rest:ident),+ $(,)?) => {
        $crate::register!($plugin: $first);
        $crate::register!($plugin: $($rest),+);
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
    ($plugin:ty: service) => {
        const _: () = {
            type Registered = $crate::Registered<$plugin>;
            $crate::bindings::service_world::export_service!(Registered with_types_in $crate::bindings::service_world);
        };
    };
    ($plugin:ty: resolver) => {
        const _: () = {
            type Registered = $crate::Registered<$plugin>;
            $crate::bindings::resolver_world::export_resolver!(Registered with_types_in $crate::bindings::resolver_world);
        };
    };
    ($plugin:ty: answer) => {
        const _: () = {
            type Registered = $crate::Registered<$plugin>;
            $crate::bindings::answer_world::export_answer!(Registered with_types_in $crate::bindings::answer_world);
        };
    };
    ($plugin:ty: task) => {
        const _: () = {
            type Registered = $crate::Registered<$plugin>;
            $crate::bindings::task_world::export_task!(Registered with_types_in $crate::bindings::task_world);
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
            service: request.service.map(|service| ServiceBinding {
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

impl<T: Service> raw_service::Guest for Registered<T> {
    async fn run() -> Result<(), RawError> {
        T::run().await?;
        Ok(())
    }
}

impl<T: Resolver> raw_resolver::Guest for Registered<T> {
    async fn resolve(name: String) -> Result<Option<raw_resolver::Answer>, RawError> {
        let resolved = T::resolve(name).await?;
        Ok(resolved.map(|resolved| raw_resolver::Answer {
            peer: resolved.peer,
            ttl: resolved
                .ttl
                .map(|ttl| u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX)),
        }))
    }
}

impl<T: Answer> raw_answer::Guest for Registered<T> {
    fn answer(request: raw_answer::Request, body: Vec<u8>) -> Result<Vec<u8>, RawError> {
        let question = Question {
            protocol: request.protocol,
            service: request.service,
            peer: request.peer.into(),
        };
        Ok(T::answer(question, body)?)
    }
}

impl<T: TaskCommand> raw_task::Guest for Registered<T> {
    fn run(name: String, arguments: String) -> Result<Vec<raw_task::Event>, RawError> {
        let facts = T::run(name, Arguments(arguments))?.into_iter();
        let events = facts.map(|fact| raw_task::Event {
            text: fact.text,
            json: fact.json,
        });
        Ok(events.collect())
    }
}
