//! Generates the fridge protocol from the contract's one `.proto` file, without an installed `protoc`.
//!
//! The server's half is generated too, because the tests of this crate play the service; nothing in `src` uses it.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos = "../contract/proto";
    let purchase = "../contract/proto/larder/purchase/v1/purchase.proto";
    println!("cargo::rerun-if-changed={purchase}");
    let descriptors = protox::compile([purchase], [protos])?;
    tonic_prost_build::configure().build_transport(false).compile_fds(descriptors)?;
    Ok(())
}
