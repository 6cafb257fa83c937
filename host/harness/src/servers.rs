//! What the servers of a scenario do with whoever connects.

use std::{io, time::Duration};

use peerup_engine::{BoxRead, BoxWrite, Duplex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::{
    link::{self, End},
    scenario::{Server, unhex},
};

impl Server {
    /// What it answers with, if anything.
    fn answer(&self) -> Option<Vec<u8>> {
        match (&self.reply, &self.reply_hex) {
            (Some(text), _) => Some(text.clone().into_bytes()),
            (None, Some(hex)) => unhex(hex).ok(),
            (None, None) => None,
        }
    }

    /// Takes a connection, and returns its other end.
    pub(crate) fn connect(&self, net: &CancellationToken) -> io::Result<Duplex> {
        if self.refuse {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (near, far) = link::pair(Duration::ZERO, net);
        let (server, ended) = (self.clone(), net.clone());
        tokio::spawn(async move {
            // Whoever connected sees the end of a connection that fails, and nobody else is there to tell.
            let _ = ended.run_until_cancelled(server.talk(far)).await;
        });
        Ok(plain(near))
    }

    async fn talk(self, end: End) -> io::Result<()> {
        let End {
            mut reader,
            mut writer,
            reset,
        } = end;
        let _held = reset;
        if let Some(text) = &self.greeting {
            writer.write_all(text.as_bytes()).await?;
        }
        if self.echo {
            tokio::io::copy(&mut reader, &mut writer).await?;
            return writer.shutdown().await;
        }
        if let Some(answer) = self.answer() {
            let mut buffer = [0; 4096];
            if reader.read(&mut buffer).await? > 0 {
                writer.write_all(&answer).await?;
            }
            writer.shutdown().await?;
        } else if !self.silent {
            writer.shutdown().await?;
        }
        drain(&mut reader).await
    }

    /// What it answers a datagram with.
    pub(crate) fn datagram(&self, data: &[u8]) -> Option<Vec<u8>> {
        match self.echo {
            true => Some(data.to_vec()),
            false => self.answer(),
        }
    }
}

/// Reads to the end, so that whoever writes is not cut.
async fn drain(reader: &mut BoxRead) -> io::Result<()> {
    tokio::io::copy(reader, &mut tokio::io::sink()).await.map(drop)
}

/// A connection that is not one to a peer.
pub(crate) fn plain(end: End) -> Duplex {
    let (reader, writer): (BoxRead, BoxWrite) = (end.reader, end.writer);
    let reset = end.reset;
    Duplex::plain(reader, writer).on_reset(Box::new(move || reset.now()))
}
