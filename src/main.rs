//! The `sandcastle` binary.

fn main() -> std::process::ExitCode {
    sandcastle::cli::main()
}
