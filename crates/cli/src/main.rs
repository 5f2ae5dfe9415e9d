//! The `grice` command: arguments and files in, verdicts out.
//!
//! ```text
//! args ─► model ─► rows ─► judge ─► writer | present
//!                └──► server
//! ```
//!
//! This crate holds only the command line; `grice-core` makes the verdicts.

mod args;
mod bench;
mod compile;
mod corpus;
mod detect;
mod doctor;
mod embed;
mod error;
mod eval;
mod generate;
mod hardware;
mod index;
mod inspect;
mod manual;
mod model;
mod output;
mod present;
mod profile;
mod progress;
mod prove;
mod quantize;
mod repair;
mod resume;
mod rows;
mod search;
mod serve;
mod terminal;
mod text_file;
mod texts;
mod tune;
mod unfinished;
mod workers;

use args::{Args, Command, Common, On};
use clap::builder::{OsStr, Resettable};
use clap::{CommandFactory, FromArgMatches};
use error::CliError;
use std::io::Write;
use std::process::ExitCode;
use terminal::Terminal;

fn main() -> ExitCode {
    quieten_vulkan();
    let args = parse();
    let outcome = run(&args);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of our output has closed it, as `head` does.
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            let style = Terminal::of_stderr(args.common.color);
            // If stderr is closed too, the error cannot be shown.
            _ = writeln!(std::io::stderr(), "{} {error}", style.paint(style.bad(), "error:"));
            ExitCode::from(error.exit_code())
        }
    }
}

/// The arguments, with the environment. An empty variable counts as not set, because Compose files and systemd units can pass on variables
/// without a value. Files of keys are an exception: an empty name must be an error, not a server without keys.
fn parse() -> Args {
    let matches = without_empty_variables(Args::command()).get_matches();
    Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |name: &std::ffi::OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let holds_keys =
        |name: &std::ffi::OsStr| matches!(name.to_str(), Some("GRICE_API_KEYS_FILE" | "GRICE_ADMIN_KEY_FILE"));
    let command = command.mut_args(|arg| match arg.get_env() {
        Some(name) if is_empty(name) && !holds_keys(name) => arg.env(Resettable::<OsStr>::Reset),
        _ => arg,
    });
    command.mut_subcommands(without_empty_variables)
}

/// Without a desktop, Mesa's device selection layer prints warnings to stderr, between our logs. Turns it off then, unless
/// the user selects a device with it.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn quieten_vulkan() {
    let is_set = |name: &str| std::env::var_os(name).is_some();
    if !is_set("XDG_RUNTIME_DIR") && !is_set("MESA_VK_DEVICE_SELECT") {
        // SAFETY: `main` calls this first, so no other thread exists that could read the environment.
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
        Command::Generate(generate) => generate::run(generate, common),
        Command::Repair(args) => repair::run(args, common),
        Command::Pipeline(args) => repair::run_pipeline(args, common),
        Command::Embed(embed) => embed::run(embed, &on(&embed.on)),
        Command::Index(index) => index::run(index, &on(&index.on)),
        Command::Search(search) => search::run(search, &on(&search.on)),
        Command::Eval(eval) => eval::run(eval, &on(&eval.on)),
        Command::Quantize(quantize) => quantize::run(quantize, common),
        Command::Compile(compile) => compile::run(compile, &Common { device: compile.device, ..common.clone() }),
        Command::Inspect(inspect) => inspect::run(inspect, &on(&inspect.on)),
        Command::Profile(profile) => profile::run(profile, &on(profile.what.on())),
        Command::Bench(bench) => bench::run(bench, &on(&bench.on)),
        Command::BenchModel(model) => bench::measure_model(model, &on(&model.on)),
        Command::Hardware(hardware) => hardware::run(hardware),
        Command::Tune(tune) => tune::run(tune, &on(&tune.on)),
        Command::Serve(serve) => serve::run(serve, common),
        Command::Doctor(doctor) => doctor::run(doctor, &on(&doctor.on)),
        Command::Completions(completions) => manual::print_completions(completions.shell),
        Command::Man => manual::print_man_page(),
    }
}
