//! Where scrapes are answered, which may change while the process runs.
//!
//! The new listener stands before the old one goes, unless both have the same port: then the old one makes room, and
//! comes back where the new one cannot be had.

use std::{io, net::SocketAddr};

use axum::Router;
use tokio::{net::TcpListener, sync::Mutex, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::scrape::serve_scrapes;

/// The address where scrapes are answered, if there is one.
#[derive(Debug, Default)]
pub struct ScrapePlace {
    served: Mutex<Option<Served>>,
}

#[derive(Debug)]
struct Served {
    /// As it was asked for; port 0 is another one with each listener.
    address: SocketAddr,
    local: Option<SocketAddr>,
    stop: CancellationToken,
    ended: JoinHandle<()>,
}

impl Served {
    /// Ends it. A scrape that is under way is cut off, and comes again.
    async fn end(self) {
        self.stop.cancel();
        // It fails only where the task ended early, and then the listener is gone as well.
        let _ = self.ended.await;
    }
}

/// Serves on a listener until it is told to end or the process ends.
#[derive(Debug)]
struct Serving<'a> {
    router: Router,
    tasks: &'a TaskTracker,
    ending: &'a CancellationToken,
}

impl Serving<'_> {
    async fn bind(&self, address: SocketAddr) -> io::Result<Served> {
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr().ok();
        let stop = self.ending.child_token();
        let serving = serve_scrapes(listener, self.router.clone(), stop.clone());
        tracing::info!(%address, "answers scrapes");
        Ok(Served {
            address,
            local,
            stop,
            ended: self.tasks.spawn(serving),
        })
    }
}

impl ScrapePlace {
    /// Answers there from now on, or nowhere. Returns whether that is another place than before. Not cancel safe.
    ///
    /// # Errors
    /// The address cannot be listened on: it is as before then.
    pub async fn serve_at(
        &self,
        wanted: Option<SocketAddr>,
        router: Router,
        tasks: &TaskTracker,
        ending: &CancellationToken,
    ) -> io::Result<bool> {
        let serving = Serving {
            router,
            tasks,
            ending,
        };
        let mut served = self.served.lock().await;
        if served.as_ref().map(|served| served.address) == wanted {
            return Ok(false);
        }
        let shares_port = |old: &Served| Some(old.address.port()) == wanted.map(|address| address.port());
        let mut old = served.take();
        let mut made_room = None;
        if let Some(sharing) = old.take_if(|old| old.address.port() != 0 && shares_port(old)) {
            made_room = Some(sharing.address);
            sharing.end().await;
        }
        let bound = match wanted {
            Some(address) => serving.bind(address).await.map(Some),
            None => Ok(None),
        };
        match bound {
            Ok(new) => {
                *served = new;
                if let Some(old) = old {
                    old.end().await;
                }
                Ok(true)
            }
            Err(error) => {
                *served = old;
                if let Some(address) = made_room {
                    *served = Some(serving.bind(address).await?);
                }
                Err(error)
            }
        }
    }

    /// Returns the address that is listened on.
    pub async fn address(&self) -> Option<SocketAddr> {
        self.served.lock().await.as_ref().and_then(|served| served.local)
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    #[derive(Default)]
    struct Process {
        place: ScrapePlace,
        tasks: TaskTracker,
        ending: CancellationToken,
    }

    impl Process {
        async fn serve_at(&self, wanted: Option<SocketAddr>) -> io::Result<bool> {
            let router = Router::new().route("/metrics", get(|| async { "well\n" }));
            self.place
                .serve_at(wanted, router, &self.tasks, &self.ending)
                .await
        }
    }

    async fn answers(address: SocketAddr) -> bool {
        let Ok(mut stream) = TcpStream::connect(address).await else {
            return false;
        };
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.ends_with("well\n")
    }

    fn any(ip: [u8; 4]) -> Option<SocketAddr> {
        Some(SocketAddr::from((ip, 0)))
    }

    #[tokio::test]
    async fn the_old_address_goes_once_the_new_one_stands() {
        let process = Process::default();
        process.serve_at(any([127, 0, 0, 1])).await.unwrap();
        let first = process.place.address().await.unwrap();
        assert!(answers(first).await);
        assert!(!process.serve_at(any([127, 0, 0, 1])).await.unwrap());
        assert_eq!(process.place.address().await, Some(first));
        assert!(process.serve_at(any([127, 0, 0, 2])).await.unwrap());
        let second = process.place.address().await.unwrap();
        assert!(answers(second).await && !answers(first).await);
        process.serve_at(None).await.unwrap();
        assert!(!answers(second).await);
        process.tasks.close();
        process.tasks.wait().await;
    }

    #[tokio::test]
    async fn an_address_that_is_taken_leaves_the_old_one() {
        let process = Process::default();
        process.serve_at(any([127, 0, 0, 1])).await.unwrap();
        let first = process.place.address().await.unwrap();
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let taken = process.serve_at(other.local_addr().ok()).await.unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(process.place.address().await, Some(first));
        assert!(answers(first).await);
    }

    #[tokio::test]
    async fn the_same_port_goes_from_one_address_to_all_and_back() {
        let process = Process::default();
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let one = free.local_addr().unwrap();
        drop(free);
        process.serve_at(Some(one)).await.unwrap();
        let all = SocketAddr::from(([0, 0, 0, 0], one.port()));
        process.serve_at(Some(all)).await.unwrap();
        assert_eq!(process.place.address().await, Some(all));
        assert!(answers(one).await);
        // 192.0.2.1 is no address of this machine.
        let foreign = SocketAddr::from(([192, 0, 2, 1], one.port()));
        process.serve_at(Some(foreign)).await.unwrap_err();
        assert_eq!(process.place.address().await, Some(all));
        assert!(answers(one).await);
    }
}
