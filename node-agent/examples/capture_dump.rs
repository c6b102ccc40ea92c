//! Prints what capture hands on, one line each, for as many seconds as asked for. Needs root.

use std::net::IpAddr;
use std::time::Duration;

use netverdict::capture::{Capture, Options, now};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().map_or(Ok(5), |s| s.parse())?;
    let pods: Result<Vec<IpAddr>, _> = arguments.map(|a| a.parse()).collect();
    let pods: Vec<_> = pods?.into_iter().map(|address| (address, None)).collect();
    let mut capture = Capture::start(Options::default()).inspect_err(|error| {
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            eprintln!(": {cause}");
            source = cause.source();
        }
    })?;
    capture.set_pod_addresses(&pods);
    capture.set_epoch(1)?;
    println!("{}", capture.found());
    let end = now().plus(seconds * 1_000_000_000);
    while now() < end {
        capture.poll(now(), &mut |input| match serde_json::to_string(&input) {
            Ok(line) => println!("{line}"),
            Err(error) => eprintln!("{error}"),
        });
        std::thread::sleep(Duration::from_millis(20));
    }
    println!(
        "drops {:?} set aside {:?}",
        capture.drops(),
        capture.set_aside()
    );
    Ok(())
}
