//! Arguments in, exit code out.

/// What a message allocates is freed by another thread than took it, which costs the system's
/// allocator an eighth of all processor time (docs/adr/0009).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    tidegate::tls::install();
    tidegate::cli::main()
}
