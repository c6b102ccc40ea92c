//! Figures as Prometheus sees them.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::Context;

use crate::ns::Namespace;

/// What an agent tells Prometheus, line by line.
#[derive(Clone, Debug)]
pub struct Metrics(pub String);

impl Metrics {
    /// Asks for them at an address within a namespace.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn ask(namespace: &Namespace, address: &str) -> anyhow::Result<Self> {
        namespace.enter(|| {
            let mut stream = TcpStream::connect(address).context("ask for metrics")?;
            stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(Self(answer))
        })
    }

    /// The sum of all series whose name and labels begin so and contain all of the words.
    #[must_use]
    pub fn sum(&self, begin: &str, words: &[&str]) -> u64 {
        let series = self.0.lines().filter(|line| line.starts_with(begin));
        series
            .filter(|line| words.iter().all(|word| line.contains(word)))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }
}
