use std::net::SocketAddr;

use key0_auth::error::ConfigFault;

use super::variables::{Variables, invalid, missing};

/// The addresses of the public and of the internal listener: where a service manager listens for
/// us, else by the variables.
pub(super) fn listeners(
    variables: &Variables,
    faults: &mut Vec<ConfigFault>,
) -> (Option<SocketAddr>, Option<SocketAddr>) {
    let public_host = variables.host("HOST", faults);
    let public_port = variables.port("PORT", faults).unwrap_or(3000);
    let given = variables.given;
    let public = public_host.map(|host| SocketAddr::new(host, public_port));
    let public = given.public.or(public);
    let internal_host = variables.host("INTERNAL_HOST", faults);
    let internal_port = variables.port("INTERNAL_PORT", faults);
    let internal = internal_port.and_then(|port| Some(SocketAddr::new(internal_host?, port)));
    let internal = internal.map(|internal| given.internal.unwrap_or(internal));
    let wanted = if internal_port.is_some() { 2 } else { 1 };
    if given.count > wanted {
        let what = format!(
            "it hands over {} sockets, and there are listeners for {wanted}: the second is that of \
             INTERNAL_PORT",
            given.count
        );
        faults.push(invalid("LISTEN_FDS", &what));
    }
    if variables.is_set("INTERNAL_HOST") && !variables.is_set("INTERNAL_PORT") {
        let why = "INTERNAL_HOST is given, and without a port there is no listener for it";
        faults.push(missing("INTERNAL_PORT", why));
    }
    if let (Some(public), Some(internal)) = (public, internal)
        && overlap(public, internal)
    {
        faults.push(invalid("INTERNAL_PORT", "it is the same address as HOST and PORT"));
    }
    (public, internal)
}

/// Whether two listeners would take each other's address.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (everywhere || one.ip() == other.ip())
}
