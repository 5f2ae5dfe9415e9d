//! The machine that a measurement ran on, and its speed of the moment.

use crate::doctor::cpu_features;
use crate::model::cores;
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::time::Instant;

/// What tells two machines apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) os: String,
    pub(crate) arch: String,
    /// The processor's name, where the system tells.
    pub(crate) cpu: Option<String>,
    /// Cores that the process may use.
    pub(crate) cores: usize,
    /// The features that the kernels use.
    pub(crate) instruction_sets: Vec<String>,
    pub(crate) memory_bytes: Option<u64>,
}

impl Machine {
    /// This one.
    pub(super) fn this() -> Machine {
        let file = |path: &str| std::fs::read_to_string(path).ok();
        let features = cpu_features().into_iter().filter(|(_, present)| *present);
        Machine {
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            cpu: file("/proc/cpuinfo").and_then(|text| cpu_name(&text)),
            cores: cores(),
            instruction_sets: features.map(|(name, _)| name.to_owned()).collect(),
            memory_bytes: file("/proc/meminfo").and_then(|text| total_memory(&text)),
        }
    }

    /// In one line.
    pub(crate) fn name(&self) -> String {
        let cpu = self.cpu.as_deref().unwrap_or(&self.arch);
        format!("{cpu}, {}, {}", crate::workers::counted(self.cores, "core"), self.os)
    }
}

fn cpu_name(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    let words: Vec<&str> = line.split_once(':')?.1.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn total_memory(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Milliseconds of a fixed piece of work on all cores: arithmetic, and memory beyond the caches. If this takes longer in one measurement than
/// in another, the machine was slower or busier.
pub(super) fn yardstick_ms() -> f64 {
    const STEPS: u32 = 1_000_000;
    const BYTES: usize = 16 << 20;
    let work = || {
        let mut state = black_box(1_u64);
        for _ in 0..STEPS {
            state = state.wrapping_mul(6_364_136_223_846_793_005).rotate_left(17) ^ 0x9E37;
        }
        let memory = vec![black_box(state as u8); BYTES];
        black_box(memory.iter().step_by(64).fold(0_u8, |sum, byte| sum ^ byte));
    };
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..cores() {
            scope.spawn(work);
        }
    });
    start.elapsed().as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_processor_and_memory() {
        let cpu = "processor\t: 0\nmodel name\t: AMD  EPYC 9354 \nflags\t: fpu\n";
        assert_eq!(cpu_name(cpu).as_deref(), Some("AMD EPYC 9354"));
        assert_eq!(cpu_name("processor : 0\n"), None);
        assert_eq!(total_memory("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(total_memory("MemTotal: many\n"), None);
    }
}
