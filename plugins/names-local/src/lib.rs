//! The first tier of the name chain: the `names:` section of the config.

use peerup_plugin_sdk::{Error, Resolved, Resolver, name_list};

struct NamesLocal;

peerup_plugin_sdk::register!(NamesLocal: resolver);

impl Resolver for NamesLocal {
    async fn resolve(name: String) -> Result<Option<Resolved>, Error> {
        // Written in lower case there, as names are asked for.
        let peer = name_list::find(&name).await?;
        Ok(peer.map(|peer| Resolved { peer, ttl: None }))
    }
}
