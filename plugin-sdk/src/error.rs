//! The one error of the contract, with what a plugin author needs around it.

use std::fmt;

use crate::bindings::peerup::plugin::types::Error as Raw;

/// What a call answers instead of a result, and what a plugin's own functions return.
///
/// The kind decides the exit code and the API's error code; the text says what failed, on what, and what to
/// do next. `Display` writes the text alone.
///
/// ```
/// use peerup_plugin_sdk::Error;
///
/// let error = Error::not_found("no file called a.txt; `list` shows what there is");
/// assert_eq!(error.to_string(), "no file called a.txt; `list` shows what there is");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Not granted. The text names the line of YAML that would grant it.
    Denied(String),
    /// No such peer, name or service.
    NotFound(String),
    /// The peer or address cannot be reached now.
    Unreachable(String),
    /// It was reached and said no.
    Refused(String),
    /// It took longer than allowed.
    TimedOut(String),
    /// A bound was met; the text names it.
    Limit(String),
    /// The other side or the host ended it.
    Closed(String),
    /// Something was passed that makes no sense.
    Invalid(String),
}

macro_rules! constructors {
    ($($function:ident $case:ident),*) => {
        impl Error {
            $(
                #[doc = concat!("Creates an [`Error::", stringify!($case), "`] with this text.")]
                ///
                /// ```
                #[doc = concat!("let error = peerup_plugin_sdk::Error::", stringify!($function), "(\"why\");")]
                /// assert_eq!(error.text(), "why");
                /// ```
                pub fn $function(text: impl Into<String>) -> Self {
                    Self::$case(text.into())
                }
            )*
        }
    };
}
constructors!(
    denied Denied,
    not_found NotFound,
    unreachable Unreachable,
    refused Refused,
    timed_out TimedOut,
    limit Limit,
    closed Closed,
    invalid Invalid
);

impl Error {
    /// Returns the text: what failed, on what, and what to do next.
    ///
    /// ```
    /// assert_eq!(peerup_plugin_sdk::Error::refused("not today").text(), "not today");
    /// ```
    pub fn text(&self) -> &str {
        match self {
            Self::Denied(text)
            | Self::NotFound(text)
            | Self::Unreachable(text)
            | Self::Refused(text)
            | Self::TimedOut(text)
            | Self::Limit(text)
            | Self::Closed(text)
            | Self::Invalid(text) => text,
        }
    }

    /// Puts what was being done in front of the text; the kind stays.
    ///
    /// ```
    /// use peerup_plugin_sdk::Error;
    ///
    /// let error = Error::refused("connection refused").context("service web");
    /// assert_eq!(error, Error::refused("service web: connection refused"));
    /// ```
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        let text = match &mut self {
            Self::Denied(text)
            | Self::NotFound(text)
            | Self::Unreachable(text)
            | Self::Refused(text)
            | Self::TimedOut(text)
            | Self::Limit(text)
            | Self::Closed(text)
            | Self::Invalid(text) => text,
        };
        *text = format!("{doing}: {text}");
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Error {}

impl From<Raw> for Error {
    fn from(raw: Raw) -> Self {
        match raw {
            Raw::Denied(text) => Self::Denied(text),
            Raw::NotFound(text) => Self::NotFound(text),
            Raw::Unreachable(text) => Self::Unreachable(text),
            Raw::Refused(text) => Self::Refused(text),
            Raw::TimedOut(text) => Self::TimedOut(text),
            Raw::Limit(text) => Self::Limit(text),
            Raw::Closed(text) => Self::Closed(text),
            Raw::Invalid(text) => Self::Invalid(text),
        }
    }
}

impl From<Error> for Raw {
    fn from(error: Error) -> Self {
        match error {
            Error::Denied(text) => Self::Denied(text),
            Error::NotFound(text) => Self::NotFound(text),
            Error::Unreachable(text) => Self::Unreachable(text),
            Error::Refused(text) => Self::Refused(text),
            Error::TimedOut(text) => Self::TimedOut(text),
            Error::Limit(text) => Self::Limit(text),
            Error::Closed(text) => Self::Closed(text),
            Error::Invalid(text) => Self::Invalid(text),
        }
    }
}
