//! A command at a terminal of its own, as a person has it: questions are asked there, and Ctrl-C arrives as a signal.

use std::{
    ffi::c_int,
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
};

use super::SOON;

/// A command that runs at a terminal.
pub(crate) struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Screen>,
}

#[derive(Default)]
struct Screen {
    shown: Mutex<Shown>,
    changed: Condvar,
}

#[derive(Default)]
struct Shown {
    text: String,
    ended: bool,
}

impl Terminal {
    /// Starts a command whose three streams are a new terminal.
    pub(crate) fn start(command: Command) -> Self {
        Self::start_with_columns(command, 0)
    }

    /// The same on a terminal that is so wide; 0 for one that does not tell.
    pub(crate) fn start_with_columns(mut command: Command, columns: u16) -> Self {
        let (master, slave) = open(columns).unwrap();
        let stream = || Stdio::from(slave.try_clone().unwrap());
        command.stdin(stream()).stdout(stream()).stderr(stream());
        #[allow(
            unsafe_code,
            reason = "a session of its own has to begin between fork and exec"
        )]
        // SAFETY: setsid and ioctl are async-signal-safe, and nothing is allocated.
        unsafe {
            command.pre_exec(|| {
                let taken = libc::setsid() >= 0 && libc::ioctl(0, libc::TIOCSCTTY, 0) == 0;
                if taken {
                    Ok(())
                } else {
                    Err(io::Error::last_os_error())
                }
            });
        }
        let child = command.spawn().unwrap();
        // The last holders of the other side are in the child: its end ends the reading here. The command has copies too.
        drop(command);
        drop(slave);
        let keyboard = File::from(master);
        let screen = Arc::new(Screen::default());
        let (mut read, shown) = (keyboard.try_clone().unwrap(), screen.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Linux answers with an error once nobody holds the other side.
            while let Ok(length @ 1..) = read.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).replace('\r', "");
                shown.shown.lock().unwrap().text.push_str(&text);
                shown.changed.notify_all();
            }
            shown.shown.lock().unwrap().ended = true;
            shown.changed.notify_all();
        });
        Self {
            child,
            keyboard,
            screen,
        }
    }

    /// Waits until this stands on the screen.
    #[track_caller]
    pub(crate) fn shows(&self, text: &str) {
        let shown = self.wait(|shown| shown.text.contains(text) || shown.ended);
        assert!(shown.contains(text), "no {text:?} in {shown}");
    }

    /// Types keys; `\u{3}` is Ctrl-C, `\u{4}` Ctrl-D.
    pub(crate) fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the end; returns the exit code as a shell has it, and all that was shown.
    #[track_caller]
    pub(crate) fn ends(&mut self) -> (i32, String) {
        let shown = self.wait(|shown| shown.ended);
        let status = self.child.wait().unwrap();
        let code = status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        (code, shown)
    }

    #[track_caller]
    fn wait(&self, done: impl Fn(&Shown) -> bool) -> String {
        let shown = self.screen.shown.lock().unwrap();
        let (shown, waited) = self
            .screen
            .changed
            .wait_timeout_while(shown, SOON, |shown| !done(shown))
            .unwrap();
        assert!(!waited.timed_out(), "nothing more is shown after {}", shown.text);
        shown.text.clone()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended where a test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Opens both sides of a terminal.
fn open(columns: u16) -> io::Result<(OwnedFd, OwnedFd)> {
    let (mut master, mut slave): (c_int, c_int) = (-1, -1);
    let null = std::ptr::null_mut();
    let size = libc::winsize {
        ws_row: if columns == 0 { 0 } else { 24 },
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    #[allow(unsafe_code, reason = "no crate of ours wraps openpty")]
    // SAFETY: both numbers are written where it succeeds, and are nobody else's then.
    unsafe {
        if libc::openpty(
            &raw mut master,
            &raw mut slave,
            null,
            std::ptr::null(),
            &raw const size,
        ) != 0
        {
            return Err(io::Error::last_os_error());
        }
        let (master, slave) = (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave));
        // A command that another test starts meanwhile must not keep the terminal open.
        for side in [&master, &slave] {
            use std::os::fd::AsRawFd as _;
            libc::fcntl(side.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC);
        }
        Ok((master, slave))
    }
}
