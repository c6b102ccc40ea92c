//! What leaves an answer open, in words.

use crate::verdict::LeftOpen;

/// A sentence.
pub(super) fn in_words(left_open: LeftOpen) -> &'static str {
    match left_open {
        LeftOpen::EqualPriority => {
            "Another policy of the same priority says otherwise: which of them is applied is not defined."
        }
        LeftOpen::OtherDirection => {
            "A NetworkPolicy selects the pod for the other direction: some dataplanes do not ask the Baseline tier then."
        }
        LeftOpen::SourceTranslation => {
            "The source was translated on the way; from its own address policy would say otherwise."
        }
        LeftOpen::OwnNode => "Some dataplanes ask the policies on the way to the own node.",
        LeftOpen::HostNetwork => {
            "A pod on its node's network takes part: most dataplanes see the node, some see the pod by its labels."
        }
        LeftOpen::Hairpin => "The pod reaches itself through a Service: dataplanes differ.",
        LeftOpen::Icmp => "Rules do not speak of ICMP: dataplanes differ.",
        LeftOpen::GroupAddress => "What policies make of multicast and broadcast is not defined.",
        LeftOpen::SourceAddress => {
            "A node may pass it on with an address of its own (externalTrafficPolicy is not Local): \
             then policy says otherwise."
        }
        LeftOpen::NodePort => {
            "A Service has that port on every node: what its backends say decides; ask for one of them."
        }
        LeftOpen::DomainNames => {
            "Domain names are defined for rules that accept only: some dataplanes may not follow this one."
        }
        LeftOpen::Unidentified => "It is not known who is at the other end.",
        LeftOpen::NoAddress => "A rule looks at an address, and the pod has none.",
        LeftOpen::DomainAnswers => {
            "A rule has domain names, and it is not known what DNS has answered."
        }
        LeftOpen::NoPort => "A rule looks at the port, and none is given.",
        LeftOpen::NoServicePort => "The Service has no such port.",
        LeftOpen::NoSlices => {
            "No EndpointSlice of the Service is known, and so none of its backends."
        }
        LeftOpen::NoBackend => "No backend of the Service is ready.",
        LeftOpen::BackendsDiffer => {
            "The Service's backends do not agree; below is one that is not allowed."
        }
        LeftOpen::UnsupportedPolicy => {
            "A policy may apply that is of a kind that is not evaluated yet."
        }
        LeftOpen::Dataplane => {
            "A block of addresses holds the other end, and it is not known whether Cilium enforces, which looks for no pod and no node in one."
        }
    }
}
