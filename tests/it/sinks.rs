//! Standard output and standard error that cannot be written.

use std::fs::{self, File};
use std::io::{self, ErrorKind, PipeReader, Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};

/// Reason why a process's output cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    /// A pipe that is full, and that nobody reads for now.
    Stuck,
    /// A pipe whose reader is gone.
    NoReader,
    /// A full disk.
    FullDisk,
    /// A terminal that was closed.
    NoTerminal,
}

impl Sink {
    /// Returns such a file, and the other end of the pipe, which keeps it so.
    pub fn open(self) -> (Stdio, Option<PipeReader>) {
        match self {
            Self::Stuck => {
                let (reader, writer) = full_pipe();
                (writer.into(), Some(reader))
            }
            Self::NoReader => (io::pipe().unwrap().1.into(), None),
            Self::FullDisk => (File::options().write(true).open("/dev/full").unwrap().into(), None),
            Self::NoTerminal => (closed_terminal().into(), None),
        }
    }
}

/// Fills a pipe to its last byte.
fn full_pipe() -> (PipeReader, OwnedFd) {
    let (reader, mut writer) = io::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    // Whole pages first: the kernel refuses less room than a short write needs to be in one piece.
    for size in [4096, 1] {
        loop {
            match writer.write(&b"x".repeat(size)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    rustix::fs::fcntl_setfl(&writer, flags).unwrap();
    (reader, writer.into())
}

fn closed_terminal() -> OwnedFd {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&controller).unwrap();
    let name = ptsname(&controller, Vec::new()).unwrap();
    let noctty = OFlags::NOCTTY | OFlags::RDWR;
    rustix::fs::open(name, noctty, rustix::fs::Mode::empty()).unwrap()
}

/// Reads lines from a pipe in the background. Whatever filled the pipe comes before the first one.
pub struct Lines(std::sync::mpsc::Receiver<String>);

impl Lines {
    pub fn of(mut reader: PipeReader) -> Self {
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let (mut buffer, mut text) = ([0; 65536], Vec::new());
            while let Ok(len @ 1..) = reader.read(&mut buffer) {
                text.extend_from_slice(&buffer[..len]);
                while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = text.drain(..=end).collect();
                    let line = String::from_utf8(line).unwrap();
                    if sender.send(line.trim_end().trim_start_matches('x').to_owned()).is_err() {
                        return;
                    }
                }
            }
        });
        Self(lines)
    }

    /// Waits for a line that has `part`, and returns it.
    pub fn wait_for(&self, part: &str) -> String {
        loop {
            let line =
                self.0.recv_timeout(crate::client::PATIENCE).unwrap_or_else(|_| panic!("never: {part}"));
            if line.contains(part) {
                return line;
            }
        }
    }
}

/// Finds the address that a process listens on without its log.
pub fn listening(pid: u32, ip: [u8; 4]) -> Option<std::net::SocketAddr> {
    let sockets: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .ok()?
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()?.into_os_string().into_string().ok())
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let wanted = format!("{:08X}", u32::from_ne_bytes(ip));
    fs::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, port) = fields[1].split_once(':')?;
        let is_ours =
            fields[3] == "0A" && address == wanted && sockets.iter().any(|inode| inode == fields[9]);
        is_ours.then(|| (ip, u16::from_str_radix(port, 16).unwrap()).into())
    })
}
