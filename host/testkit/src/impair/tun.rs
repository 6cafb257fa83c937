//! Opens TUN devices in network namespaces. A device belongs to the namespace that its descriptor was
//! opened in, whoever reads it later, so one thread goes there for the moment of opening and ends.

use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    thread,
};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::{
    fs::{Mode, OFlags},
    io, ioctl,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::Host;

/// Where `ip netns` keeps its namespaces.
const NAMESPACES: &str = "/var/run/netns";
/// `TUNSETIFF` of `linux/if_tun.h`.
const TUNSETIFF: ioctl::Opcode = ioctl::opcode::write::<i32>(b'T', 202);
/// `IFF_TUN`: IP packets.
const IFF_TUN: u16 = 0x0001;
/// `IFF_NO_PI`: nothing in front of them.
const IFF_NO_PI: u16 = 0x1000;
/// `IFF_TUN_EXCL`: it must not exist yet.
const IFF_TUN_EXCL: u16 = 0x8000;

/// `struct ifreq` of `linux/if.h`, with the one member of its union that is used here.
#[repr(C, align(8))]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// Creates a TUN device; it exists as long as the descriptor, which does not block.
///
/// # Errors
/// Where the name is empty, too long or taken, the namespace is gone, or the kernel refuses.
pub(super) fn open(host: &Host, device: &str) -> Result<OwnedFd> {
    let namespace = host.namespace().map(|name| Path::new(NAMESPACES).join(name));
    let request = request(device)?;
    // A thread that has changed its namespace is not used for anything else.
    let opened = thread::scope(|scope| {
        let opener = scope.spawn(|| {
            if let Some(path) = &namespace {
                let place = File::open(path).with_context(|| path.display().to_string())?;
                let network = LinkNameSpaceType::Network;
                move_into_link_name_space(place.as_fd(), Some(network))?;
            }
            create(request)
        });
        opener.join()
    });
    opened
        .map_err(|_| anyhow!("the thread that opens it panicked"))?
        .with_context(|| format!("cannot create the TUN device {device}"))
}

fn create(mut request: InterfaceRequest) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let descriptor = rustix::fs::open("/dev/net/tun", flags, Mode::empty()).context("/dev/net/tun")?;
    set_interface(&descriptor, &mut request)?;
    Ok(descriptor)
}

#[allow(unsafe_code, reason = "an ioctl that no crate of ours wraps")]
fn set_interface(descriptor: &OwnedFd, request: &mut InterfaceRequest) -> io::Result<()> {
    // SAFETY: TUNSETIFF takes a pointer to a `struct ifreq`, reads it and writes it back; the structure is
    // that one in size and layout, and all of it is initialised.
    unsafe {
        let updater = ioctl::Updater::<TUNSETIFF, InterfaceRequest>::new(request);
        ioctl::ioctl(descriptor, updater)
    }
}

fn request(device: &str) -> Result<InterfaceRequest> {
    let mut name = [0; 16];
    // The last byte stays zero: it ends the name. Without a name the kernel would choose one.
    let fits = !device.is_empty() && device.len() < name.len();
    ensure!(fits, "{device:?} is no name for a device");
    for (to, from) in name.iter_mut().zip(device.bytes()) {
        *to = from;
    }
    Ok(InterfaceRequest {
        name,
        flags: IFF_TUN | IFF_NO_PI | IFF_TUN_EXCL,
        rest: [0; 22],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_as_large_as_the_kernels_and_its_name_ends() {
        assert_eq!(size_of::<InterfaceRequest>(), 40);
        assert_eq!(TUNSETIFF, 0x4004_54ca);
        assert_eq!(request("123456789012345").unwrap().name[15], 0);
        assert!(request("1234567890123456").is_err());
        assert!(request("").is_err());
    }
}
