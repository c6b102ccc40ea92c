//! in the making
mod btf;
mod programs;
mod reasons;
mod symbols;
pub fn tryout() -> Result<(), programs::Error> {
    let k = programs::Kernel::read()?;
    println!("{} reasons {:?}", k.reasons.count(), k.locations);
    let mut p = programs::Programs::load(programs::Sizes::default(), &k)?;
    println!("loaded");
    p.hook()?;
    println!("hooked");
    Ok(())
}
