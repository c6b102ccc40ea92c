//! A connection on the command line.

use clap::{Args, ValueEnum};

use super::connections::{self, Asked, Place};
use super::{Error, ends};

/// The flags that write down one connection.
#[derive(Args, Debug)]
pub(super) struct InlineArgs {
    /// Who opens it: NAMESPACE/POD, or an address.
    #[arg(long, value_name = "END", requires = "to", requires = "port")]
    from: String,
    /// To whom: NAMESPACE/POD, or an address.
    #[arg(long, value_name = "END", requires = "from")]
    to: String,
    /// Port and protocol of the destination: 5432/TCP, 53/UDP, ICMP.
    #[arg(long, value_name = "PORT/PROTOCOL", requires = "from")]
    port: String,
    /// Which of the source pod's addresses.
    #[arg(long, value_name = "ADDRESS", requires = "from")]
    from_ip: Option<String>,
    /// Which of the destination pod's addresses.
    #[arg(long, value_name = "ADDRESS", requires = "from")]
    to_ip: Option<String>,
    /// It came through this: a pod that reaches itself through a Service is not the same as one that does not.
    #[arg(long, value_name = "WHAT", value_enum, requires = "from")]
    via: Option<Via>,
}

/// What a connection came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Via {
    /// A Service.
    Service,
}

impl InlineArgs {
    /// The connection.
    pub(super) fn asked(self) -> Result<Asked, Error> {
        let Self {
            from,
            to,
            port,
            from_ip,
            to_ip,
            via,
        } = self;
        let place = Place::Inline;
        let asked = || {
            let (port, protocol) = connections::port_and_protocol(&port)?;
            Ok(Asked {
                place: place.clone(),
                from,
                to,
                port,
                protocol,
                from_ip: ends::given("--from-ip", from_ip)?,
                to_ip: ends::given("--to-ip", to_ip)?,
                via_service: via.is_some_and(|via| match via {
                    Via::Service => true,
                }),
                expected: connections::Expected::default(),
            })
        };
        asked().map_err(|problem| Error::Connection { place, problem })
    }
}
