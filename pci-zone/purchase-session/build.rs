//! Compiles the fridge protocol without protoc: protox parses it, tonic-prost-build writes the server's half.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../contract/proto");
    println!("cargo::rerun-if-changed={root}");
    let files = protox::compile(["larder/purchase/v1/purchase.proto"], [root])?;
    tonic_prost_build::configure().build_client(false).build_server(true).compile_fds(files)?;
    Ok(())
}
