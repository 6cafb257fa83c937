//! Keys and values that outlive the instance, the daemon and an upgrade of the plugin. Needs the grant `store` with a
//! size: `store: 10MB`.

use crate::{Error, bindings::peerup::plugin::store as raw};

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 512;
/// The longest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 1 << 20;
/// The most changes of one batch.
pub const MAX_CHANGES: usize = 1000;

/// Changes that are made together or not at all.
///
/// ```no_run
/// # use peerup_plugin_sdk::{Error, store::Batch};
/// # async fn example() -> Result<(), Error> {
/// Batch::new().set("seen/home", b"1").delete("seen/old").apply().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Batch(Vec<raw::Change>);

impl Batch {
    /// Creates a batch without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value to set.
    pub fn set(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.0.push((key.into(), Some(value.into())));
        self
    }

    /// Adds a key to delete.
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.0.push((key.into(), None));
        self
    }

    /// Makes the changes, on disk before it returns. Fails with [`Error::Limit`] where the store would be larger than
    /// granted.
    pub async fn apply(self) -> Result<(), Error> {
        Ok(raw::apply(self.0).await?)
    }

    /// Makes the changes if the key has this value at that moment (none: does not exist), and returns whether it did.
    ///
    /// ```no_run
    /// # use peerup_plugin_sdk::{Error, store::{self, Batch}};
    /// # async fn example() -> Result<(), Error> {
    /// loop {
    ///     let old = store::get("count").await?;
    ///     let count = old.as_deref().and_then(|bytes| bytes.first()).copied().unwrap_or_default();
    ///     let batch = Batch::new().set("count", [count.wrapping_add(1)]);
    ///     if batch.apply_if("count", old.as_deref()).await? {
    ///         return Ok(());
    ///     }
    /// }
    /// # }
    /// ```
    pub async fn apply_if(self, key: &str, expected: Option<&[u8]>) -> Result<bool, Error> {
        let expected = expected.map(<[u8]>::to_vec);
        Ok(raw::apply_if(key.to_owned(), expected, self.0).await?)
    }
}

/// Reads the value of a key.
///
/// ```no_run
/// # use peerup_plugin_sdk::{Error, store};
/// # async fn example() -> Result<(), Error> {
/// let value: Option<Vec<u8>> = store::get("seen/home").await?;
/// # Ok(())
/// # }
/// ```
pub async fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    Ok(raw::get(key.to_owned()).await?)
}

/// Sets one value.
///
/// ```no_run
/// # use peerup_plugin_sdk::{Error, store};
/// # async fn example() -> Result<(), Error> {
/// store::set("seen/home", b"1").await
/// # }
/// ```
pub async fn set(key: &str, value: impl Into<Vec<u8>>) -> Result<(), Error> {
    Batch::new().set(key, value).apply().await
}

/// Deletes one key; one that is not there is none to delete.
///
/// ```no_run
/// # use peerup_plugin_sdk::{Error, store};
/// # async fn example() -> Result<(), Error> {
/// store::delete("seen/home").await
/// # }
/// ```
pub async fn delete(key: &str) -> Result<(), Error> {
    Batch::new().delete(key).apply().await
}

/// Lists keys that begin with `prefix` and come after `after`, in order, at most `limit` and at most 1000.
///
/// ```no_run
/// # use peerup_plugin_sdk::{Error, store};
/// # async fn example() -> Result<(), Error> {
/// let mut after = None;
/// loop {
///     let keys = store::keys("seen/", after.as_deref(), 100).await?;
///     let Some(last) = keys.last() else { return Ok(()) };
///     after = Some(last.clone());
/// }
/// # }
/// ```
pub async fn keys(prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>, Error> {
    Ok(raw::keys(prefix.to_owned(), after.map(ToOwned::to_owned), limit).await?)
}
