//! Prints what the program at a pod's interface costs over an empty one, as `cargo xtask bench kernel` keeps it.

use netverdict::capture::bench::bench;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let figures: Vec<_> = bench()?
        .into_iter()
        .map(|figure| {
            serde_json::json!({
                "name": figure.name,
                "min": figure.min,
                "median": figure.median,
                "max": figure.max,
                "unit": "ns over empty",
                "bound": figure.bound,
                "held": figure.median <= figure.bound,
            })
        })
        .collect();
    println!("{}", serde_json::json!({ "figures": figures }));
    Ok(())
}
