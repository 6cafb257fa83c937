//! Names, ids, grants, limits and error codes that every other crate shares.
//!
//! Pure data: no I/O, no clock, no runtime. A peer id is `libp2p_identity::PeerId` everywhere.

mod deadline;
mod error;
mod grant;
mod name;
mod path;
mod protocol;

pub use deadline::{Deadline, Now, SteadyDeadline};
pub use error::{ErrorCode, Failure};
pub use grant::{
    AddressClass, AddressPattern, ByteSize, DirectoryAccess, DirectoryGrant, GrantError, Grants, NameGrant,
    PeerGrant, ProtocolPattern, TcpGrants, UdpGrants, VariableName, may_lead_to,
};
pub use name::{AlertName, NameError, PeerName, PluginName, ProxyName, RESERVED_SERVICE_NAMES, ServiceName};
pub use path::{PathKind, PathPolicy, PathPolicyError, Transport};
pub use protocol::{
    ADMIT_PROTOCOL, AGENT_PREFIX, GO_PING_PROTOCOL, HOLE_PUNCH_PROTOCOL, INVITE_PROTOCOL, KAD_PROTOCOL,
    LIBP2P_PING_PROTOCOL, NAMES_PROTOCOL, PING_PROTOCOL, REACH_PROTOCOL, service_protocol,
};
