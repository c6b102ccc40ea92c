//! An explanation for people, paragraph by paragraph.

use super::{
    ExplainedItem, ExplainedPolicy, ExplainedRule, ExplainedSide, Explanation, RuleFit, open,
};
use crate::model::{Action, Tier};
use crate::record::Direction;
use crate::verdict::{Decision, NearestMiss, Reason};
use crate::words::{self, Token as _};

/// A heading and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paragraph {
    /// One line.
    pub heading: String,
    /// What the heading ends with, when it says what is decided.
    pub decision: Option<Decision>,
    /// Its lines.
    pub lines: Vec<String>,
}

impl Explanation {
    /// What it says, in words.
    #[must_use]
    pub fn paragraphs(&self) -> Vec<Paragraph> {
        let [from, to] = &self.ends;
        let mut paragraphs = vec![
            Paragraph {
                heading: format!("{from} → {to}, {}", self.port),
                decision: Some(self.verdict),
                lines: self.unknown_in_words().into_iter().collect(),
            },
            self.egress.paragraph(Direction::Egress, from),
            self.ingress.paragraph(Direction::Ingress, to),
        ];
        paragraphs.extend(self.fix_in_words());
        paragraphs
    }

    fn unknown_in_words(&self) -> Option<String> {
        let because = self.unknown_because?;
        Some(format!("  Not known because of {}.", because.in_words()))
    }

    fn fix_in_words(&self) -> Vec<Paragraph> {
        let sides = [
            (&self.egress, Direction::Egress),
            (&self.ingress, Direction::Ingress),
        ];
        let denied = || {
            let sides = sides.into_iter();
            sides.filter(|(side, _)| side.side.verdict == Decision::Denied)
        };
        let stays = || denied().filter(|(side, _)| side.side.would_allow.is_none());
        let start = match (denied().count(), stays().count()) {
            (2, 0) => "To allow it, both sides must change",
            (_, 0) => "To allow it",
            _ => "To allow one side of it",
        };
        let fix = self.fix.iter().enumerate().map(|(index, fix)| {
            let start = if index == 0 { start } else { "And" };
            let what = if fix.new {
                format!("apply this new policy, {}", fix.policy)
            } else {
                format!("apply {} with what is missing added", fix.policy)
            };
            let note = "# The whole object, because its lists are replaced by what is applied; add its labels and \
                        annotations.";
            let note = (!fix.new).then(|| note.to_owned());
            Paragraph {
                heading: format!("{start}: {what}"),
                decision: None,
                lines: note
                    .into_iter()
                    .chain(fix.object.lines().map(str::to_owned))
                    .collect(),
            }
        });
        let stays = stays().map(|(side, direction)| side.stays_denied(direction));
        fix.chain(stays).collect()
    }
}

impl ExplainedSide {
    /// What no rule of a NetworkPolicy that is suggested changes.
    fn stays_denied(&self, direction: Direction) -> Paragraph {
        let way = way(direction);
        let who_decides = match (&self.side.denied_by, self.tier_of_denial()) {
            (Some(rule), Some(Tier::Baseline)) => format!(
                "a NetworkPolicy that isolates the pod for {way} would decide in place of {}, and has to allow all \
                 else that the pod needs",
                rule.policy
            ),
            (Some(rule), _) => format!("{} itself has to change", rule.policy),
            (None, _) => "no single rule is known that allows it".to_owned(),
        };
        let way = match direction {
            Direction::Egress => "Egress",
            Direction::Ingress => "Ingress",
        };
        Paragraph {
            heading: format!("{way} stays denied: {who_decides}"),
            decision: None,
            lines: Vec::new(),
        }
    }

    fn tier_of_denial(&self) -> Option<Tier> {
        let rule = self.side.denied_by.as_ref()?;
        let mut policies = self.policies.iter();
        let policy = policies.find(|policy| policy.policy.key == rule.policy.key);
        policy.map(|policy| policy.tier)
    }

    fn paragraph(&self, direction: Direction, subject: &str) -> Paragraph {
        let mut lines = vec![format!("  {}", self.reason_in_words(direction))];
        if let Some(left_open) = self.side.left_open {
            let start = match self.side.verdict {
                Decision::Unknown => "Not known",
                Decision::Allowed | Decision::Denied => "Left open",
            };
            lines.push(format!("  {start}: {}", open::in_words(left_open)));
        }
        for policy in &self.policies {
            policy.describe(direction, self.side.nearest.as_ref(), &mut lines);
        }
        let way = match direction {
            Direction::Egress => "Egress of",
            Direction::Ingress => "Ingress of",
        };
        Paragraph {
            heading: format!("{way} {subject}"),
            decision: Some(self.side.verdict),
            lines,
        }
    }

    fn reason_in_words(&self, direction: Direction) -> String {
        let side = &self.side;
        let way = way(direction);
        if let Some(policy) = side.unsupported.first() {
            return format!(
                "Not known: {policy} may apply, which is of a kind that is not evaluated yet."
            );
        }
        match side.reason {
            Reason::NotIsolated => format!("No policy isolates it for {way}, and no rule decides."),
            Reason::Rule => match &side.allowed_by {
                Some(rule) => format!("Allowed by {rule}."),
                None => "A rule allows it.".to_owned(),
            },
            Reason::NoRuleMatched => {
                let isolated = match self.isolated_by.as_slice() {
                    [policy] => format!("{policy} isolates it"),
                    policies => format!("{} policies isolate it", policies.len()),
                };
                let matches = match side.verdict {
                    Decision::Unknown => "no rule surely matches",
                    Decision::Allowed | Decision::Denied => "no rule matches",
                };
                format!("{isolated}, and {matches}.")
            }
            Reason::RuleDenied => self.denial_in_words(direction),
            Reason::NotSubject => match side.verdict {
                Decision::Unknown => "Whose policies have a say is not known.".to_owned(),
                Decision::Allowed | Decision::Denied => {
                    "No pod with a network of its own: no policy has a say.".to_owned()
                }
            },
            Reason::OwnNode => match direction {
                Direction::Ingress => "A pod's own node always reaches it.".to_owned(),
                Direction::Egress => "A pod may always reach its own node.".to_owned(),
            },
            Reason::Itself => "A pod always reaches itself.".to_owned(),
            Reason::Established => "It was open before the policy was.".to_owned(),
        }
    }

    fn denial_in_words(&self, direction: Direction) -> String {
        let Some(rule) = &self.side.denied_by else {
            return "A rule denies it.".to_owned();
        };
        match self.tier_of_denial() {
            Some(Tier::Baseline) => format!(
                "Denied by {rule}; the Baseline tier decides, because no NetworkPolicy isolates it for {}.",
                way(direction)
            ),
            Some(Tier::Admin) => {
                format!("Denied by {rule}; the Admin tier decides, whatever a NetworkPolicy says.")
            }
            Some(Tier::NetworkPolicy) | None => format!("Denied by {rule}."),
        }
    }
}

impl ExplainedPolicy {
    fn describe(
        &self,
        direction: Direction,
        nearest: Option<&NearestMiss>,
        lines: &mut Vec<String>,
    ) {
        let name = self.in_words();
        let way = way(direction);
        match (&self.missed, self.rules.as_slice()) {
            (None, _) if self.unsupported => {
                lines.push(format!("  {name}: of a kind that is not evaluated yet"));
            }
            (Some(_), _) => lines.push(format!("  {name}: selects it, but says nothing of {way}")),
            (None, []) => lines.push(format!("  {name}: no {way} rule, {}", self.without_rules())),
            (None, _) => lines.push(format!("  {name}:")),
        }
        for rule in &self.rules {
            let is_nearest = nearest.is_some_and(|nearest| {
                nearest.rule.policy.key == self.policy.key && nearest.rule.rule == rule.rule
            });
            rule.describe(self.tier, direction, is_nearest, lines);
        }
    }

    /// `shop/db`, or `ClusterNetworkPolicy audit (Admin tier)`.
    fn in_words(&self) -> String {
        match self.tier {
            Tier::NetworkPolicy => self.policy.to_string(),
            tier @ (Tier::Admin | Tier::Baseline) => {
                format!("{} ({} tier)", self.policy, tier.in_words())
            }
        }
    }

    fn without_rules(&self) -> &'static str {
        match self.tier {
            Tier::NetworkPolicy => "so it allows nothing",
            Tier::Admin | Tier::Baseline => "so it decides nothing",
        }
    }
}

impl ExplainedRule {
    fn describe(
        &self,
        tier: Tier,
        direction: Direction,
        is_nearest: bool,
        lines: &mut Vec<String>,
    ) {
        let nearest = if is_nearest { ", the nearest" } else { "" };
        let action = match (tier, self.action) {
            (Tier::NetworkPolicy, Action::Accept) => "",
            (Tier::Admin | Tier::Baseline, Action::Accept) => " (Accept)",
            (_, Action::Deny) => " (Deny)",
            (_, Action::Pass) => " (Pass, to the next tier)",
        };
        lines.push(format!(
            "    rule {}{action} {}{nearest}",
            self.rule,
            self.fit.in_words()
        ));
        let list = match direction {
            Direction::Egress => "to",
            Direction::Ingress => "from",
        };
        for (list, items) in [(list, &self.peers), ("ports", &self.ports)] {
            for (index, item) in items.iter().flatten().enumerate() {
                lines.push(format!("      {list}[{index}] {}", item.in_words()));
            }
        }
    }
}

impl ExplainedItem {
    fn in_words(&self) -> String {
        let missed: Vec<String> = self.missed.iter().map(words::missed).collect();
        match (self.fit, missed.as_slice()) {
            (RuleFit::Misses, [_, ..]) => format!("misses: {}", missed.join("; ")),
            (fit, _) => fit.in_words().to_owned(),
        }
    }
}

impl RuleFit {
    fn in_words(self) -> &'static str {
        match self {
            Self::Matches => "matches",
            Self::Misses => "misses",
            Self::Unknown => "may match: nobody can say",
        }
    }
}

fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::Egress => "egress",
        Direction::Ingress => "ingress",
    }
}
