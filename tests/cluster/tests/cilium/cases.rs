//! Who calls whom, what the client sees, and what is to be said of it. The policies are those of `world`.

use cluster::cilium::Datapath;
use netns::traffic::Protocol::{self, Tcp, Udp};
use netns::traffic::Saw::{self, Answer, Nothing, Refused};

/// One connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// Who opens it: a pod, `node` or `world`.
    pub(crate) from: &'static str,
    /// To whom: one of those, `nobody`, or a Service by `service/NAME`.
    pub(crate) to: &'static str,
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    pub(crate) saw: Saw,
    /// What netverdict's records claim.
    pub(crate) claims: &'static [Claim],
    /// What Hubble says became of the first packet, in the words of `compared`.
    pub(crate) hubble: &'static str,
}

/// An assessment with the side that it is about, or why there is none.
pub(crate) type Claim = (&'static str, &'static str);

const ALLOWED: &[Claim] = &[("allowed", "")];
const REFUSED: &[Claim] = &[("refused", "")];
const BY_INGRESS: &[Claim] = &[("blocked", "ingress")];
const BY_EGRESS: &[Claim] = &[("blocked", "egress")];

// The pod sees 169.254.42.1 for itself: who that is, nobody says.
const BY_ITSELF: &[Claim] = &[("allowed", ""), ("unknown", "identity")];
const ISOLATED_BY_ITSELF: &[Claim] = &[
    ("unknown", "identity"),
    ("unknown", "open_in_specification"),
];
const HAIRPIN: &[Claim] = &[("unknown", "open_in_specification")];
/// Its pod has not been watched for as long as a conversation may have been silent, and conntrack knows of none; nor was it
/// seen to be answered, so that it could be said that whoever opened it was free to.
const DOUBT: &[Claim] = &[("unknown", "orientation")];
const UNSEEN: &[Claim] = &[];
const NOBODY: &[Claim] = &[("unknown", "identity")];

const FORWARDED: &str = "forwarded";
const INGRESS: &str = "denied, INGRESS";
const EGRESS: &str = "denied, EGRESS";
/// It only sees what kube-proxy made of it, from another port.
const NOTHING: &str = "nothing";

type Row = (
    &'static str,
    &'static str,
    u16,
    Protocol,
    Saw,
    &'static [Claim],
    &'static str,
);

#[rustfmt::skip]
const BOTH: [Row; 20] = [
    ("client", "open", 8090, Tcp, Answer, ALLOWED, FORWARDED),
    ("client", "open", 81, Tcp, Refused, REFUSED, FORWARDED),
    ("client", "shut", 8080, Tcp, Nothing, BY_INGRESS, INGRESS),
    ("client", "some", 8080, Tcp, Answer, ALLOWED, FORWARDED),
    ("client", "some", 8090, Tcp, Nothing, BY_INGRESS, INGRESS),
    ("open", "some", 8080, Tcp, Nothing, BY_INGRESS, INGRESS),
    ("mute", "open", 8090, Tcp, Nothing, BY_EGRESS, EGRESS),
    ("mute", "shut", 8080, Tcp, Nothing, BY_EGRESS, EGRESS),
    // To Cilium no pod is part of a block of addresses (R18).
    ("client", "fenced", 8080, Tcp, Nothing, BY_INGRESS, INGRESS),
    ("client", "node", 8080, Tcp, Answer, ALLOWED, FORWARDED),
    // Cilium asks the policies for the way to the own node, too (R29).
    ("mute", "node", 8080, Tcp, Nothing, BY_EGRESS, EGRESS),
    ("node", "shut", 8080, Tcp, Answer, ALLOWED, FORWARDED),
    ("node", "service/open", 80, Tcp, Answer, ALLOWED, NOTHING),
    ("client", "world", 8080, Tcp, Answer, ALLOWED, FORWARDED),
    ("mute", "world", 8080, Tcp, Nothing, BY_EGRESS, EGRESS),
    ("world", "shut", 8080, Tcp, Nothing, BY_INGRESS, INGRESS),
    ("client", "open", 81, Udp, Refused, DOUBT, FORWARDED),
    ("client", "shut", 8080, Udp, Nothing, DOUBT, INGRESS),
    ("mute", "open", 8090, Udp, Nothing, DOUBT, EGRESS),
    ("world", "shut", 8080, Udp, Nothing, BY_INGRESS, INGRESS),
];

#[rustfmt::skip]
const STACK: [Row; 10] = [
    ("world", "open", 8090, Tcp, Answer, ALLOWED, FORWARDED),
    ("world", "fenced", 8080, Tcp, Answer, ALLOWED, FORWARDED),
    ("client", "open", 8090, Udp, Answer, ALLOWED, FORWARDED),
    ("client", "world", 8080, Udp, Answer, ALLOWED, FORWARDED),
    ("client", "nobody", 8080, Tcp, Nothing, NOBODY, "dropped, STALE_OR_UNROUTABLE_IP"),
    ("client", "service/open", 80, Tcp, Answer, ALLOWED, FORWARDED),
    ("open", "service/open", 80, Tcp, Answer, BY_ITSELF, FORWARDED),
    ("shut", "service/shut", 80, Tcp, Answer, ISOLATED_BY_ITSELF, FORWARDED),
    ("client", "service/shut", 80, Tcp, Nothing, BY_INGRESS, INGRESS),
    ("mute", "service/open", 80, Tcp, Nothing, BY_EGRESS, EGRESS),
];

// No hook sees what is handed straight to a pod: not its first packet, and no answer to it.
#[rustfmt::skip]
const STRAIGHT: [Row; 10] = [
    ("world", "open", 8090, Tcp, Answer, UNSEEN, FORWARDED),
    ("world", "fenced", 8080, Tcp, Answer, UNSEEN, FORWARDED),
    ("client", "open", 8090, Udp, Answer, ALLOWED, FORWARDED),
    ("client", "world", 8080, Udp, Answer, DOUBT, FORWARDED),
    ("client", "nobody", 8080, Tcp, Nothing, NOBODY, FORWARDED),
    ("client", "service/open", 80, Tcp, Answer, ALLOWED, FORWARDED),
    ("open", "service/open", 80, Tcp, Answer, ALLOWED, FORWARDED),
    ("shut", "service/shut", 80, Tcp, Answer, HAIRPIN, FORWARDED),
    ("client", "service/shut", 80, Tcp, Nothing, BY_INGRESS, INGRESS),
    ("mute", "service/open", 80, Tcp, Nothing, BY_EGRESS, EGRESS),
];

/// Every connection on a datapath. The last have an end at their deadline only: by then all is said of the others.
pub(crate) fn cases(datapath: Datapath) -> Vec<Case> {
    let own = match datapath {
        Datapath::Stack => STACK,
        Datapath::Straight => STRAIGHT,
    };
    let rows = BOTH.into_iter().chain(own);
    let cases = rows.map(|(from, to, port, protocol, saw, claims, hubble)| Case {
        from,
        to,
        port,
        protocol,
        saw,
        claims,
        hubble,
    });
    cases.collect()
}
