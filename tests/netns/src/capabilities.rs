//! What the agent may do under test: what its deployment lets it, and no more.

/// The capabilities of the DaemonSet in `deploy/`, in the words of `setpriv`.
const DEPLOYED: &str = "-all,+bpf,+perfmon,+net_admin";
/// Set where there is no `setpriv` that knows these words, in a small virtual machine: the agent may do everything there.
const UNLIMITED: &str = "NETVERDICT_UNLIMITED";

/// Capabilities that a program gets.
#[derive(Clone, Debug)]
pub struct Capabilities(Option<String>);

impl Default for Capabilities {
    fn default() -> Self {
        let is_limited = std::env::var_os(UNLIMITED).is_none();
        Self(is_limited.then(|| DEPLOYED.to_owned()))
    }
}

impl Capabilities {
    /// One more.
    pub fn add(&mut self, capability: &str) {
        if let Some(limited) = &mut self.0 {
            limited.push_str(",+");
            limited.push_str(capability);
        }
    }

    /// The words that go before a program's.
    pub(crate) fn words(&self) -> Vec<String> {
        let Some(limited) = &self.0 else {
            return Vec::new();
        };
        let sets = ["bounding-set", "inh-caps"].map(|set| format!("--{set}={limited}"));
        let words = ["setpriv", "--no-new-privs"].map(str::to_owned);
        words.into_iter().chain(sets).collect()
    }
}
