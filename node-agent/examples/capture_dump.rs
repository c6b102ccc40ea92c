fn main() { if let Err(e) = netverdict::capture::tryout() { let mut s: &dyn std::error::Error = &e; println!("{s}"); while let Some(x) = s.source() { println!(": {x}"); s = x; } } }
