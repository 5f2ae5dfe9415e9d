//! The `grice` command: arguments and files in, verdicts out.
//!
//! ```text
//! args ─► model ─► rows ─► judge ─► writer | present
//!                └──► server
//! ```
//!
//! Leaves out everything that is not about a command line; what a verdict is and how it comes about is `grice-core`'s.

mod args;
mod batch;
mod bench;
mod compare;
mod compile;
mod config;
mod config_file;
mod detect;
mod doctor;
mod error;
mod eval;
mod inspect;
mod judge;
mod keys;
mod labels;
mod manual;
mod metrics;
mod model;
mod output;
mod present;
mod profile;
mod progress;
mod quantize;
mod questions;
mod resume;
mod rows;
mod serve;
mod serve_options;
mod terminal;
mod workers;

use args::{Args, Command, Common, On};
use clap::Parser;
use error::CliError;
use std::io::Write;
use std::process::ExitCode;
use terminal::Terminal;

fn main() -> ExitCode {
    quieten_vulkan();
    let args = Args::parse();
    let outcome = run(&args);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has had enough of it, as `head` does.
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            let style = Terminal::of_stderr(args.common.color);
            // If even stderr is gone there is nobody left to tell.
            _ = writeln!(std::io::stderr(), "{} {error}", style.paint(style.bad(), "error:"));
            ExitCode::from(error.exit_code())
        }
    }
}

/// Where there is no desktop, Mesa's layer that lets a desktop choose the GPU complains on stderr, amid our logs. It is left out then, unless
/// somebody chooses by it.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn quieten_vulkan() {
    let is_set = |name: &str| std::env::var_os(name).is_some();
    if !is_set("XDG_RUNTIME_DIR") && !is_set("MESA_VK_DEVICE_SELECT") {
        // SAFETY: nobody reads the environment meanwhile: this is the first thing that `main` does, and no other thread runs yet.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

#[cfg(not(target_os = "linux"))]
fn quieten_vulkan() {}

fn run(args: &Args) -> Result<(), CliError> {
    let common = &args.common;
    let on = |on: &On| Common { device: on.device, ..common.clone() };
    match &args.command {
        Command::Detect(detect) => detect::run(detect, &on(&detect.on)),
        Command::Eval(eval) => eval::run(eval, &on(&eval.on)),
        Command::Quantize(quantize) => quantize::run(quantize, common),
        Command::Compile(compile) => compile::run(compile, &Common { device: compile.device, ..common.clone() }),
        Command::Inspect(inspect) => inspect::run(inspect, &on(&inspect.on)),
        Command::Profile(profile) => profile::run(profile, &on(profile.what.on())),
        Command::Bench(bench) => bench::run(bench, &on(&bench.on)),
        Command::Serve(serve) => serve::run(serve, common),
        Command::Doctor(doctor) => doctor::run(doctor, &on(&doctor.on)),
        Command::Completions(completions) => manual::print_completions(completions.shell),
        Command::Man => manual::print_man_page(),
    }
}
