//! The kernel programs' own diagnostics, compiled in with the feature `kernel-log` only.

#[cfg(feature = "kernel-log")]
pub(super) use with::Diagnostics;
#[cfg(not(feature = "kernel-log"))]
pub(super) use without::Diagnostics;

#[cfg(feature = "kernel-log")]
mod with {
    use aya::Ebpf;
    use aya_log::EbpfLogger;

    /// What the kernel programs say, read by whoever calls it.
    pub(in super::super) struct Diagnostics(Box<dyn FnMut()>);

    impl Diagnostics {
        /// Takes the programs' messages out of the object.
        pub(in super::super) fn open(ebpf: &mut Ebpf) -> Self {
            match EbpfLogger::init(ebpf) {
                Ok(mut logger) => Self(Box::new(move || logger.flush())),
                Err(error) => {
                    tracing::warn!(%error, "no diagnostics from the kernel programs");
                    Self(Box::new(|| {}))
                }
            }
        }

        /// Hands on to the log what was said since the last call.
        pub(in super::super) fn say(&mut self) {
            (self.0)();
        }
    }
}

#[cfg(not(feature = "kernel-log"))]
mod without {
    /// Nothing, at no cost.
    pub(in super::super) struct Diagnostics;

    impl Diagnostics {
        pub(in super::super) fn open(_: &mut aya::Ebpf) -> Self {
            Self
        }

        pub(in super::super) fn say(&mut self) {}
    }
}
