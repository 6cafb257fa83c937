//! A service on this machine, and clients of it.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
};

use super::SOON;

/// A server that sends back whatever it receives, until the client ends its half.
pub(crate) struct Echo {
    address: SocketAddr,
}

impl Echo {
    /// Starts it. Its threads end with the process.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                thread::spawn(move || {
                    let mut reader = client.try_clone().unwrap();
                    // A client that is cut off is what several tests do.
                    let _ = std::io::copy(&mut reader, &mut client);
                    let _ = client.shutdown(Shutdown::Write);
                });
            }
        });
        Self { address }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }
}

/// A connection through a proxy.
pub(crate) struct Client(TcpStream);

impl Client {
    #[track_caller]
    pub(crate) fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        Self(stream)
    }

    /// Sends a word and returns whether it came back.
    pub(crate) fn echoes(&mut self) -> bool {
        let mut answer = [0; 5];
        self.0.write_all(b"hello").is_ok() && self.0.read_exact(&mut answer).is_ok() && answer == *b"hello"
    }

    /// Waits until the other side ends or resets the connection. What comes before is read over.
    #[track_caller]
    pub(crate) fn ended(&mut self) {
        let mut buffer = [0; 64 << 10];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("the connection is still open after {SOON:?}")
                }
                Err(_) => return,
            }
        }
    }

    /// Keeps sending and reading until the connection ends. Returns once bytes flow.
    pub(crate) fn keep_busy(self) -> thread::JoinHandle<u64> {
        let mut reader = self.0.try_clone().unwrap();
        let mut first = [0; 1];
        let mut writer = self.0;
        writer.write_all(&[7]).unwrap();
        reader.read_exact(&mut first).unwrap();
        thread::spawn(move || {
            let block = [7; 32 << 10];
            while writer.write_all(&block).is_ok() {}
        });
        thread::spawn(move || {
            let mut count = 0;
            let mut buffer = [0; 64 << 10];
            while let Ok(read) = reader.read(&mut buffer) {
                if read == 0 {
                    break;
                }
                count += read as u64;
            }
            count
        })
    }
}

/// A port on 127.0.0.1 where nobody listens now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
