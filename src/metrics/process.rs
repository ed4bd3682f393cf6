//! Metrics of the process, under the names that all Prometheus clients use. They are read from `/proc`, and left out where
//! it cannot be read.

use std::fs;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Ticks of `/proc/*/stat` a second: the kernel's interface has had 100 on all machines that Rust's std
/// supports, whatever the kernel itself counts in.
const TICKS: f64 = 100.0;

/// Values that the kernel reports about this process.
#[derive(Debug, Clone, PartialEq)]
struct Process {
    /// Processor time, in seconds.
    cpu: f64,
    /// Start time, in seconds since 1970.
    start: f64,
    resident_bytes: i64,
    virtual_bytes: i64,
    open_files: i64,
    max_files: i64,
}

pub(super) fn register(registry: &mut Registry) {
    let Some(process) = read() else { return };
    let cpu = Counter::<f64, AtomicU64>::default();
    cpu.inc_by(process.cpu);
    registry.register_with_unit("process_cpu", "Time on a processor, user and system", Unit::Seconds, cpu);
    let start = Gauge::<f64, AtomicU64>::default();
    start.set(process.start);
    registry.register_with_unit("process_start_time", "When the process started", Unit::Seconds, start);
    let gauge = |value: i64| {
        let gauge: Gauge = Gauge::default();
        gauge.set(value);
        gauge
    };
    let (resident, whole) = (gauge(process.resident_bytes), gauge(process.virtual_bytes));
    registry.register_with_unit("process_resident_memory", "Memory in use", Unit::Bytes, resident);
    registry.register_with_unit("process_virtual_memory", "Address space in use", Unit::Bytes, whole);
    registry.register("process_open_fds", "Open file descriptors", gauge(process.open_files));
    registry.register("process_max_fds", "Most open file descriptors", gauge(process.max_files));
}

fn read() -> Option<Process> {
    let text = |path: &str| fs::read_to_string(path).ok();
    let mut process = parse(
        &text("/proc/self/stat")?,
        &text("/proc/stat")?,
        &text("/proc/self/status")?,
        &text("/proc/self/limits")?,
    )?;
    // Reading the directory opens it as well.
    process.open_files = fs::read_dir("/proc/self/fd").ok()?.count() as i64 - 1;
    Some(process)
}

/// Reads the files of proc(5): `/proc/self/stat`, `/proc/stat`, `/proc/self/status`, `/proc/self/limits`.
fn parse(stat: &str, system: &str, status: &str, limits: &str) -> Option<Process> {
    // The name in parentheses may hold anything. What follows it is field 3.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| Some(fields.get(field - 3)?.parse::<f64>().ok()? / TICKS);
    fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
        text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()
    }
    let kilobytes = |name: &str| Some(value(status, name)?.parse::<i64>().ok()? * 1024);
    Some(Process {
        cpu: ticks(14)? + ticks(15)?,
        start: value(system, "btime")?.parse::<f64>().ok()? + ticks(22)?,
        resident_bytes: kilobytes("VmRSS:")?,
        virtual_bytes: kilobytes("VmSize:")?,
        open_files: 0,
        // It may be "unlimited".
        max_files: value(limits, "Max open files")?.parse().unwrap_or(-1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 900 0 0 0 150 50 0 0 20 0 4 0 12345 9000 500 1844";
        let system = "cpu  1 2 3\nbtime 1700000000\nprocesses 5\n";
        let status = "Name:\tx\nVmSize:\t  2048 kB\nVmRSS:\t    1024 kB\n";
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 4096                 files\n";
        let expected = Process {
            cpu: 2.0,
            start: 1_700_000_123.45,
            resident_bytes: 1 << 20,
            virtual_bytes: 2 << 20,
            open_files: 0,
            max_files: 1024,
        };
        assert_eq!(parse(stat, system, status, limits), Some(expected));
        assert_eq!(parse("", system, status, limits), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn knows_this_process() {
        let process = read().expect("a /proc");
        assert!(process.resident_bytes > 1 << 20 && process.resident_bytes <= process.virtual_bytes);
        assert!(process.open_files >= 3 && process.start > 1.6e9, "{process:?}");
    }
}
