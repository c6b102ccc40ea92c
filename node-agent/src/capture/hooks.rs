//! How programs hang on an interface: by tcx, or as filters of a clsact qdisc where Linux has no tcx (before 6.6).
//!
//! Either way they stand in front of every other program there, so that a foreign verdict hides nothing. A tcx link
//! goes with its process. A filter stays when its process is killed: ours are told by their name and handle, and
//! removed by the next start. A qdisc is never deleted, because filters of others may hang on it; where somebody has made
//! an ingress qdisc, which takes clsact's place and has no egress, only what comes from the pod is seen.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;

use aya::programs::tc::{
    NlOptions, SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions, TcHandle,
    qdisc_add_clsact,
};
use aya::programs::{LinkOrder, ProgramError, TcAttachType};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{self, TcAttribute, TcFilterBpfOption, TcMessage, TcOption};

use super::namespaces;
use super::netlink::Netlink;
use super::programs::{Error, FROM_POD, NOTHING, Programs, TO_POD};
use super::query;

/// How hooks are to be attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attach {
    /// By tcx, and where that does not work by clsact.
    #[default]
    Auto,
    /// By tcx.
    Tcx,
    /// As filters of a clsact qdisc.
    Clsact,
}

/// How hooks are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    Tcx,
    Clsact,
}

impl Hook {
    /// As the command line calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// The loopback's number in every namespace.
const LOOPBACK: u32 = 1;
/// The upper half of our filters' handles; each attachment has a lower half of its own.
const OURS: u16 = 0x4e56;
/// Nothing comes before it. Within a priority the newest filter runs first.
const PRIORITY: u16 = 1;
/// What each program is attached to.
const PLACES: [(&str, TcAttachType); 2] = [
    (FROM_POD, TcAttachType::Ingress),
    (TO_POD, TcAttachType::Egress),
];

/// Attaches the programs, in the way that this kernel has.
pub(super) struct Hooks {
    hook: Hook,
    next: Cell<u16>,
}

/// The places where an interface is watched.
pub(super) struct Attached([Option<SchedClassifierLinkId>; 2]);

impl Attached {
    /// Whether what goes to the pod is seen as well.
    pub(super) const fn is_whole(&self) -> bool {
        self.0[1].is_some()
    }
}

/// An interface, by its number and its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interface<'a> {
    pub(super) index: u32,
    pub(super) name: &'a str,
}

/// What else hangs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// A program that is not ours is there.
    pub(super) foreign: bool,
    /// Ours run, and before every other filter.
    pub(super) in_front: bool,
}

impl Hooks {
    /// Finds out how hooks can be attached, by trying it.
    pub(super) fn choose(programs: &mut Programs, asked: Attach) -> Result<Self, Error> {
        let hook = match asked {
            Attach::Auto => try_tcx().or_else(|no_tcx| {
                try_clsact(programs).map_err(|no_clsact| Error::NoHook {
                    no_tcx,
                    no_clsact: Box::new(no_clsact),
                })
            })?,
            Attach::Tcx => try_tcx().map_err(Error::NoTcx)?,
            Attach::Clsact => try_clsact(programs).map_err(Error::NoClsact)?,
        };
        // Not the numbers of an agent that ends while we start: it deletes its filters by them.
        let next = Cell::new((super::now().0 >> 10) as u16);
        Ok(Self { hook, next })
    }

    /// The way that was chosen.
    pub(super) const fn hook(&self) -> Hook {
        self.hook
    }

    /// Watches an interface.
    pub(super) fn attach(
        &self,
        programs: &mut Programs,
        netlink: &mut Netlink,
        interface: Interface<'_>,
    ) -> Result<Attached, Error> {
        let mut places = PLACES.len();
        if self.hook == Hook::Clsact {
            // It may be there already; if it cannot be added for another reason, no filter can be either.
            let _ = qdisc_add_clsact(interface.name);
            if lacks_egress(netlink, interface.index) {
                places = 1;
            }
        }
        let mut attached = Attached([None, None]);
        let wanted = PLACES.into_iter().zip(&mut attached.0).take(places);
        for ((program, direction), link) in wanted {
            let options = self.options();
            let classifier = programs.classifier(program)?;
            match classifier.attach_with_options(interface.name, direction, options) {
                Ok(id) => *link = Some(id),
                Err(source) => {
                    detach(programs, attached);
                    return Err(Error::Attach {
                        interface: interface.name.to_owned(),
                        hook: self.hook.name(),
                        source,
                    });
                }
            }
        }
        Ok(attached)
    }

    fn options(&self) -> TcAttachOptions {
        match self.hook {
            Hook::Tcx => TcAttachOptions::TcxOrder(LinkOrder::first()),
            Hook::Clsact => {
                let minor = self.next.get();
                self.next.set(minor.wrapping_add(1));
                TcAttachOptions::Netlink(NlOptions {
                    priority: PRIORITY,
                    handle: TcHandle::new(OURS, minor),
                    classid: None,
                })
            }
        }
    }

    /// Puts ours in front of the others again.
    pub(super) fn renew(
        &self,
        programs: &mut Programs,
        netlink: &mut Netlink,
        interface: Interface<'_>,
        attached: &mut Attached,
    ) -> Result<(), Error> {
        let none = Attached([None, None]);
        match self.hook {
            // A program can stand there only once.
            Hook::Tcx => {
                detach(programs, std::mem::replace(attached, none));
                *attached = self.attach(programs, netlink, interface)?;
            }
            // The new one first: between the two nothing is missed.
            Hook::Clsact => {
                let new = self.attach(programs, netlink, interface)?;
                detach(programs, std::mem::replace(attached, new));
            }
        }
        Ok(())
    }

    /// Looks at what hangs on an interface besides ours; `None` when that cannot be read.
    pub(super) fn standing(
        &self,
        programs: &mut Programs,
        netlink: &mut Netlink,
        with_qdisc: &BTreeSet<u32>,
        interface: Interface<'_>,
        attached: &Attached,
    ) -> Option<Standing> {
        let Interface { index, .. } = interface;
        let mut standing = Standing {
            // Whoever made the qdisc that lets us see one side only sends what it gets somewhere.
            foreign: !attached.is_whole(),
            in_front: true,
        };
        let places = PLACES.into_iter().zip(&attached.0);
        for ((program, direction), _) in places.filter(|(_, link)| link.is_some()) {
            let filters = if with_qdisc.contains(&index) {
                filters(netlink, index, direction).ok()?
            } else {
                Vec::new()
            };
            standing.foreign |= filters.iter().any(|filter| !filter.is_ours(program));
            if self.hook == Hook::Clsact {
                standing.in_front &= filters.first().is_some_and(|first| first.is_ours(program));
            }
            let hanging = query::tcx(index, direction);
            match self.hook {
                Hook::Tcx => {
                    let hanging = hanging.ok()?;
                    let ours = programs.classifier(program).ok()?.info().ok()?.id();
                    standing.in_front &= hanging.first().is_some_and(|first| *first == ours);
                    standing.foreign |= hanging.len() > 1;
                }
                // A kernel without tcx has no programs there.
                Hook::Clsact => standing.foreign |= hanging.is_ok_and(|them| !them.is_empty()),
            }
        }
        Some(standing)
    }
}

/// Watches an interface no more. One that is gone took its links along: that is no error.
pub(super) fn detach(programs: &mut Programs, attached: Attached) {
    for ((program, _), link) in PLACES.into_iter().zip(attached.0) {
        if let (Ok(classifier), Some(link)) = (programs.classifier(program), link) {
            let _ = classifier.detach(link);
        }
    }
}

/// Removes the filters that an agent left when it was killed, from an interface with a qdisc.
pub(super) fn clear(netlink: &mut Netlink, index: u32, name: &str) {
    for (program, direction) in PLACES {
        let left = filters(netlink, index, direction).unwrap_or_default();
        for filter in left.iter().filter(|filter| filter.is_ours(program)) {
            let handle = TcHandle::from(filter.handle);
            let link =
                SchedClassifierLink::attached(name, direction, filter.priority, handle, None);
            // An interface that is gone took it along.
            let detached = link.map(aya::programs::links::Link::detach);
            tracing::info!(%name, ?detached, "removed what an earlier agent left");
        }
    }
}

/// A kernel that answers what hangs on the loopback by tcx can attach by it.
fn try_tcx() -> io::Result<Hook> {
    query::tcx(LOOPBACK, TcAttachType::Ingress).map(|_| Hook::Tcx)
}

/// Attaches a filter to the loopback of a namespace that goes with it: a qdisc would stay on any other. One that does
/// nothing, because loading the others takes the kernel much longer.
fn try_clsact(programs: &mut Programs) -> Result<Hook, ProgramError> {
    let Ok(classifier) = programs.classifier(NOTHING) else {
        return Ok(Hook::Clsact);
    };
    classifier.load()?;
    let tried = namespaces::elsewhere(|| {
        let _ = qdisc_add_clsact("lo");
        let options = TcAttachOptions::Netlink(NlOptions::default());
        let id = classifier.attach_with_options("lo", TcAttachType::Ingress, options)?;
        classifier.detach(id)
    });
    // Where no namespace can be made the first interface will tell.
    tried.unwrap_or(Ok(())).map(|()| Hook::Clsact)
}

/// Whether an ingress qdisc holds the place of clsact. What is attached to its egress would land on its ingress.
fn lacks_egress(netlink: &mut Netlink, index: u32) -> bool {
    let request = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
    // Without an answer attaching will say what is wrong.
    let answers = netlink.dump(request).unwrap_or_default();
    answers.into_iter().any(|answer| {
        let RouteNetlinkMessage::NewQueueDiscipline(qdisc) = answer else {
            return false;
        };
        let mut attributes = qdisc.attributes.into_iter();
        qdisc.header.index.cast_unsigned() == index
            && attributes.any(|it| matches!(it, TcAttribute::Kind(kind) if kind == "ingress"))
    })
}

/// A filter of a clsact qdisc.
#[derive(Debug, PartialEq, Eq)]
struct Filter {
    priority: u16,
    handle: u32,
    name: Option<String>,
}

impl Filter {
    fn is_ours(&self, program: &str) -> bool {
        self.handle >> 16 == u32::from(OURS) && self.name.as_deref() == Some(program)
    }
}

/// The filters at one side of an interface, in the order in which they run.
fn filters(netlink: &mut Netlink, index: u32, direction: TcAttachType) -> io::Result<Vec<Filter>> {
    let mut request = TcMessage::default();
    request.header.index = index.cast_signed();
    request.header.parent = tc::TcHandle {
        major: tc::TcHandle::CLSACT.major,
        minor: match direction {
            TcAttachType::Egress => tc::TcHandle::MIN_EGRESS,
            TcAttachType::Ingress | TcAttachType::Custom(_) => tc::TcHandle::MIN_INGRESS,
        },
    };
    let answers = netlink.dump(RouteNetlinkMessage::GetTrafficFilter(request))?;
    Ok(answers.into_iter().filter_map(filter).collect())
}

fn filter(answer: RouteNetlinkMessage) -> Option<Filter> {
    let RouteNetlinkMessage::NewTrafficFilter(message) = answer else {
        return None;
    };
    let handle = u32::from(message.header.handle);
    let mut name = None;
    for attribute in message.attributes {
        if let TcAttribute::Options(options) = attribute {
            name = name.or(options.into_iter().find_map(|option| match option {
                TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => Some(name),
                _ => None,
            }));
        }
    }
    // Without a handle it is the list of a priority, and none of its filters.
    (handle != 0).then_some(Filter {
        priority: (message.header.info >> 16) as u16,
        handle,
        name,
    })
}
