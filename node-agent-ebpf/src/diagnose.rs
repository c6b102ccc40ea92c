//! Words for those who work on the kernel programs, compiled in with the feature `log` only.

/// Says something at the level debug; without the feature it is nothing at all, and its arguments are not looked at.
#[cfg(feature = "log")]
macro_rules! diagnose {
    ($ctx:expr, $($words:tt)+) => {
        aya_log_ebpf::debug!($ctx, $($words)+)
    };
}

/// Says nothing.
#[cfg(not(feature = "log"))]
macro_rules! diagnose {
    ($ctx:expr, $words:literal $(, $more:expr)*) => {
        // Named, so that what only a diagnosis needs is not called unused.
        let _ = || {
            let _ = ($ctx, $($more),*);
        };
    };
}

pub(crate) use diagnose;
